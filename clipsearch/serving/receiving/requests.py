"""Takes a call's request in, within bounds of time and memory, and answers it.

gRPC reads a unary request before it calls a handler, and waits as long as the connection lives. What is
called here reads by itself, so it can wait until there is room, and give up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

from google.protobuf import descriptor_pool
from google.protobuf.message import DecodeError

from clipsearch.serving.errors import InvalidArgument
from clipsearch.serving.receiving.arrivals import Arrivals, Context
from clipsearch.serving.receiving.message_cost import MessageCost
from clipsearch.serving.service import Check

# Larger messages are reckoned in a thread: up to some 0.2 s.
_RECKONED_HERE = 128 * 1024

# Reads the request of a call and answers it.
Answers: TypeAlias = Callable[[Context, Check | None], Awaitable[Any]]


class Requests:
    """Reads the requests of unary calls.

    A request that would take more than `most_bytes` of memory is refused unparsed, and one with more
    elements in a list than `most_elements` says, by the full name of the field.
    """

    def __init__(self, arrivals: Arrivals, most_bytes: int, most_elements: Mapping[str, int]) -> None:
        self.give_way = arrivals.give_way
        """Ends a call that has been sending its request for long; False = there is none."""
        self._arrivals = arrivals
        self._most_bytes = most_bytes
        self._most_elements = most_elements
        # A thread of its own: it must not wait behind images.
        self._reckoner = ThreadPoolExecutor(1, "requests")

    def answering(
        self,
        path: str,
        answer: Callable[[Any, Context], Awaitable[Any]],
        decode: Callable[[bytes], Any],
    ) -> Answers:
        """What takes the calls of the RPC at `path`, /service/name; a request counts as held meanwhile.

        It raises what `Arrivals` raises, InvalidArgument for what is no message or too much of one, and what
        the check and the RPC raise.
        """
        method = descriptor_pool.Default().FindMethodByName(path.lstrip("/").replace("/", "."))
        cost = MessageCost(method.input_type, self._most_elements)

        async def answers(context: Context, check: Check | None) -> Any:
            data = await self._arrivals.read(context)
            held, answered = len(data), False
            try:
                takes = await self._reckoned(cost, data)
                await self._arrivals.hold(held, takes)
                held, answered = takes, True
                request = _decoded(decode, data)
                del data
                if check is not None:
                    check(request)
                return await answer(request, context)
            finally:
                self._arrivals.release(held, answered=answered)

        return answers

    async def _reckoned(self, cost: MessageCost, data: bytes) -> int:
        """What the request takes: the message, and the copies of texts and images that are made of it."""
        if len(data) <= _RECKONED_HERE:
            return cost.of(data, self._most_bytes) + len(data)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._reckoner, cost.of, data, self._most_bytes) + len(data)


def _decoded(decode: Callable[[bytes], Any], data: bytes) -> Any:
    """The request. gRPC itself would call bytes that do not parse INTERNAL, as if they were our fault."""
    try:
        return decode(data)
    except (DecodeError, ValueError) as error:  # a string that is no UTF-8, say
        raise InvalidArgument(
            "request", f"the bytes are no valid message ({error})", "REQUEST_NOT_DECODABLE"
        ) from None
