"""Takes a call's request in, after all that refuses a caller, within bounds of time and memory.

gRPC reads a unary request before it calls a handler, and waits as long as the connection lives. A
handler that claims to take a stream is called when the headers have come and reads by itself, so it can
ask who calls first, wait until there is room, and give up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any, cast

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError

from clipsearch.serving.errors import InvalidArgument
from clipsearch.serving.receiving.arrivals import Arrivals
from clipsearch.serving.receiving.message_cost import MessageCost
from clipsearch.serving.wrapping import HEALTH, Call, Context, Continuation, Handler

# Larger messages are reckoned in a thread: up to some 0.2 s.
_RECKONED_HERE = 128 * 1024

# What the request of the current call must pass before it is answered; set by what knows the caller.
request_check: ContextVar[Callable[[Any], None] | None] = ContextVar("request_check", default=None)


class ReceivingInterceptor(grpc.aio.ServerInterceptor):
    """Reads the requests of unary calls. Belongs inside of all others: those run when the headers come.

    A request that would take more than `most_bytes` of memory is refused unparsed, and one with more
    elements in a list than `most_elements` says, by the full name of the field.
    """

    def __init__(self, arrivals: Arrivals, most_bytes: int, most_elements: Mapping[str, int]) -> None:
        self._arrivals = arrivals
        self._most_bytes = most_bytes
        self._most_elements = most_elements
        self._costs: dict[str, MessageCost] = {}
        # A thread of its own: it must not wait behind images.
        self._reckoner = ThreadPoolExecutor(1, "requests")

    async def intercept_service(  # noqa: D102
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or handler.unary_unary is None or method.startswith(HEALTH):
            return handler
        call = cast(Call, handler.unary_unary)
        decode = cast("Callable[[bytes], Any]", handler.request_deserializer)
        return grpc.stream_unary_rpc_method_handler(
            self._received(call, decode, self._cost_of(method)),
            response_serializer=handler.response_serializer,
        )

    def _received(self, call: Call, decode: Callable[[bytes], Any], cost: MessageCost) -> Call:
        async def received(_requests: Any, context: Context) -> Any:
            data = await self._arrivals.read(context)
            held, answered = len(data), False
            try:
                takes = await self._reckoned(cost, data)
                await self._arrivals.hold(held, takes)
                held, answered = takes, True
                request = _decoded(decode, data)
                del data
                check = request_check.get()
                if check is not None:
                    check(request)
                return await call(request, context)
            finally:
                self._arrivals.release(held, answered=answered)

        return received

    async def _reckoned(self, cost: MessageCost, data: bytes) -> int:
        """What the request takes: the message, and the copies of texts and images that are made of it."""
        if len(data) <= _RECKONED_HERE:
            return cost.of(data, self._most_bytes) + len(data)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._reckoner, cost.of, data, self._most_bytes) + len(data)

    def _cost_of(self, path: str) -> MessageCost:
        known = self._costs.get(path)
        if known is None:
            method: MethodDescriptor = descriptor_pool.Default().FindMethodByName(
                path.lstrip("/").replace("/", ".")
            )
            known = self._costs[path] = MessageCost(method.input_type, self._most_elements)
        return known


def _decoded(decode: Callable[[bytes], Any], data: bytes) -> Any:
    """The request. gRPC itself would call bytes that do not parse INTERNAL, as if they were our fault."""
    try:
        return decode(data)
    except (DecodeError, ValueError) as error:  # a string that is no UTF-8, say
        raise InvalidArgument(
            "request", f"the bytes are no valid message ({error})", "REQUEST_NOT_DECODABLE"
        ) from None
