"""Calls to a Qdrant server or cluster: their deadline, their errors, and which are made again.

Each try goes to the next node, by gRPC's round robin. A read that gets no answer is made a second
time while the first still waits (a hedged request: Dean and Barroso 2013, "The tail at scale"), so
that a node that hangs costs a pause and not the call. A write is given up before it is made again.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

import grpc
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse

from clipsearch.serving.errors import DeadlineExceeded, Unavailable
from search_service.deadline import store_within, time_left
from search_service.stores.qdrant.errors import StoreRefuses, StoreUnsettled, store_error

Answer = TypeVar("Answer")
Sent = TypeVar("Sent", covariant=True)


class Send(Protocol[Sent]):
    """Makes a call, as the client's methods do when their other arguments are given."""

    def __call__(self, *, timeout: int) -> Awaitable[Sent]:
        """The server is told to give it up after `timeout` seconds."""


# Before the second try, which goes to another node at once, the third, the fourth and those after.
_PAUSES_S = (0.0, 0.1, 0.3, 0.5)
# Of a server that cannot be reached at all.
MOST_TRIES = 4
# While a node comes or goes, others answer that they cannot do it now, until it is back or given up.
_SETTLES_WITHIN_S = 10.0
# Reads take milliseconds: one that takes a second is more likely lost than slow.
_HEDGE_AFTER_S = 1.0
_MOST_HEDGES_A_READ = 8
# Where all nodes are slow, second tries make them slower.
_MOST_HEDGES = 64


class ServerCalls:
    """Makes calls. `timeout` is the longest that one may take with all its tries, in seconds.

    `longest` tells of a collection which timeout its server lets pass, None = any.

    All methods raise what `store_error` makes of the client's exceptions, and DeadlineExceeded.
    """

    def __init__(
        self, timeout: float, longest: Callable[[str], int | None] = lambda collection: None
    ) -> None:
        self._timeout = timeout
        self._longest = longest
        self._hedges = 0

    async def once(self, collection: str, send: Send[Answer]) -> Answer:
        """A call whose second try would answer otherwise."""
        return await self._bounded(lambda seconds: self._sent(collection, send, seconds))

    async def read(self, collection: str, send: Send[Answer]) -> Answer:
        """The first answer that comes."""
        return await self._bounded(
            lambda seconds: self._first(lambda: self._sent(collection, send, seconds), seconds)
        )

    async def write(self, collection: str, send: Send[Answer]) -> Answer:
        """A write that leaves the same behind when it is made twice; a try has half of the time left."""

        async def tried(seconds: float) -> Answer:
            end = _now() + seconds
            again = _Again(seconds)
            for _ in range(MOST_TRIES - 1):  # as often may one hang
                try:
                    while True:
                        try:
                            async with asyncio.timeout((end - _now()) / 2):
                                return await self._sent(collection, send, seconds)
                        except Unavailable as error:
                            await asyncio.sleep(again.after(error))
                except TimeoutError:
                    continue
            return await self._sent(collection, send, seconds)

        return await self._bounded(tried)

    async def _bounded(self, make: Callable[[float], Awaitable[Answer]]) -> Answer:
        seconds = time_left(self._timeout)
        async with store_within(seconds):
            return await make(seconds)

    async def _sent(self, collection: str, send: Send[Answer], seconds: float) -> Answer:
        whole = max(1, math.ceil(seconds))
        try:
            return await send(timeout=min(whole, self._longest(collection) or whole))
        except (grpc.aio.AioRpcError, ResourceExhaustedResponse) as error:
            raise store_error(error, collection) from error

    async def _first(self, send: Callable[[], Coroutine[Any, Any, Answer]], seconds: float) -> Answer:
        hedge_after = min(_HEDGE_AFTER_S, seconds / MOST_TRIES)
        again = _Again(seconds)
        pending = {asyncio.create_task(send())}
        hedges = 0
        try:
            while True:
                may_hedge = hedges < _MOST_HEDGES_A_READ and self._hedges < _MOST_HEDGES
                done, pending = await asyncio.wait(
                    pending,
                    timeout=hedge_after if may_hedge else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if done:
                    failures = [task.exception() for task in done]
                    if None in failures:
                        return next(task.result() for task in done if task.exception() is None)
                    failure = min((f for f in failures if f is not None), key=_is_passing)
                    await asyncio.sleep(again.after(failure))
                else:
                    hedges += 1
                    self._hedges += 1
                pending.add(asyncio.create_task(send()))
        finally:
            self._hedges -= hedges
            for task in pending:
                task.cancel()
            if pending:
                await asyncio.gather(*pending, return_exceptions=True)


class _Again:
    """Whether and when a call that failed is made again: what `after` returns, or it raises the failure."""

    def __init__(self, seconds: float) -> None:
        self._end = _now() + min(seconds, _SETTLES_WITHIN_S)
        self._tries = 0

    def after(self, failure: BaseException) -> float:
        """Seconds to wait first."""
        pause = _PAUSES_S[min(self._tries, len(_PAUSES_S) - 1)]
        self._tries += 1
        may = isinstance(failure, StoreUnsettled) or self._tries < MOST_TRIES
        if not (may and _is_passing(failure)) or _now() + pause >= self._end:
            raise failure
        return pause


def _now() -> float:
    return asyncio.get_running_loop().time()


def _is_passing(failure: BaseException) -> bool:
    """Another node may answer otherwise."""
    return isinstance(failure, Unavailable | DeadlineExceeded) and not isinstance(failure, StoreRefuses)
