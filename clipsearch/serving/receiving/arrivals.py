"""The memory of requests, those included that have not arrived whole: one budget for all of them.

gRPC says neither how long a message will be nor how much of it has come. What has come is counted by the
kernel, for each connection, and looked at every few milliseconds. A call whose request is not read yet holds
64 KiB at most: gRPC lets a caller send no more before it is asked to (see `lifecycle`, where it is told so).
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import grpc

from clipsearch.serving.errors import DeadlineExceeded, InvalidArgument, ResourceExhausted, ServiceError
from clipsearch.serving.receiving.connections import Connections

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

# As much as can come in meanwhile goes over the budget: some 10 MB on a loopback device.
_LOOK_S = 0.01
# A request that is still on its way after this long may have to give way to others.
_PATIENCE_S = 1.0
# One part in so many of the budget is for requests that arrive, however much is being answered.
_ALWAYS_FOR_ARRIVALS = 4
# A request of one part in so many (64 KiB of 256 MiB), a few texts, say, waits for no room.
_SMALL = 4096
# Waiting requests that are let in at each look while there is room: one for each MiB, for nobody knows how
# large they are.
_FEWEST, _EACH = 4, 1024 * 1024
_RETRY_S = 1.0


@dataclass(eq=False, slots=True)
class _Arrival:
    """A request on its way, until when it must be here, and what was known of its connection when it began.

    `task` reads it, and is cancelled by `_look`, which runs as long as anything is on its way: a timer each
    would cost more than all else here.
    """

    started: float
    end: float
    known: tuple[int, int]
    task: asyncio.Task[Any]
    ended: ServiceError | None = None


@dataclass(eq=False, slots=True)
class _Peer:
    """A connection on which requests are, or just were, on their way, the oldest of them first.

    `whole` are the bytes of requests that have arrived. `known` is what the kernel had received at the last
    look, and `whole` then: to ask it at each call would cost a small call a fifth of its time.
    """

    name: str
    known: tuple[int, int]
    whole: int = 0
    arrivals: dict[_Arrival, None] = field(default_factory=dict)

    @property
    def oldest(self) -> _Arrival:
        return next(iter(self.arrivals))


@dataclass(eq=False, slots=True)
class _Waiter:
    """A call whose request is not read yet."""

    peer: str
    since: float
    go: asyncio.Future[None]


class Arrivals:
    """Requests that arrive or are being answered, of all calls of a server. Used from one event loop."""

    def __init__(self, budget: int, limit_s: float) -> None:
        """`budget` is in bytes; a request has `limit_s` seconds to arrive."""
        self.budget = budget
        self.held = 0
        """Bytes of memory of the requests that are being answered."""
        self._answering = 0
        self._released = asyncio.Event()
        self._limit_s = limit_s
        self._received = Connections().received
        self.arriving = 0
        """Bytes of requests that have not arrived whole, at the last look."""
        self._peers: dict[str, _Peer] = {}
        self._waiters: list[_Waiter] = []
        self._looking: asyncio.TimerHandle | None = None

    async def read(self, context: Context) -> bytes:
        """The bytes of a call's request, which count as held from then on: `hold`, `release`.

        Waits while there is no room. Raises DeadlineExceeded for a request that does not arrive in time,
        InvalidArgument for none, and ResourceExhausted for one that had to give way to others.
        """
        end = time.monotonic() + self._limit_s  # the loop's clock
        name = context.peer()
        if self._waiters or self._room() <= 0:
            await self._wait(name, end)
        peer = self._peers.get(name)
        if peer is None:
            peer = self._peers[name] = _Peer(name, (self._received(name) or 0, 0))
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        arrival = _Arrival(time.monotonic(), end, peer.known, task)
        peer.arrivals[arrival] = None
        self._look_soon()
        data = None
        try:
            data = await context.read()
        except asyncio.CancelledError:
            if arrival.ended is None or task.uncancel() > 0:  # by others, too
                raise
            raise arrival.ended from None
        finally:
            del peer.arrivals[arrival]
            peer.whole += len(data) if isinstance(data, bytes) else 0
        if not isinstance(data, bytes):
            raise InvalidArgument("request", "the call brings none", "REQUEST_NOT_DECODABLE")
        self.held += len(data)
        return data

    async def hold(self, arrived: int, parsed: int) -> None:
        """A request of `arrived` bytes, which was read, is to be answered and takes `parsed` bytes for that.

        Waits until there is room. A request that is alone may take more than the budget: it could never
        be served else. Raises ResourceExhausted.
        """
        more = parsed - arrived
        if parsed > self.budget // _SMALL and self._answering and self.held + more > self.budget:
            try:
                async with asyncio.timeout(self._limit_s):
                    while self._answering and self.held + more > self.budget:
                        await self._released.wait()
            except TimeoutError:
                raise self._full() from None
        self.held += more
        self._answering += 1

    def release(self, size: int, *, answered: bool) -> None:
        """A request that held `size` bytes is done; `answered` if it came as far as `hold`."""
        self._answering -= answered
        self.held -= size
        self._released.set()  # for those that wait now
        self._released.clear()
        if self._waiters:
            self._look_soon()

    def give_way(self) -> bool:
        """Ends the oldest request that is still on its way and had its time; False = there is none."""
        now = time.monotonic()
        late = [one for one in self._on_their_way() if now - one.started >= _PATIENCE_S and not one.ended]
        if late:
            _end(min(late, key=lambda one: one.started), self._full())
        return bool(late)

    async def _wait(self, peer: str, end: float) -> None:
        """Until it is this one's turn. Raises ResourceExhausted when `end` has come."""
        loop = asyncio.get_running_loop()
        waiter = _Waiter(peer, time.monotonic(), loop.create_future())
        self._waiters.append(waiter)
        self._look_soon()
        try:
            async with asyncio.timeout_at(end):
                await waiter.go
        except TimeoutError:
            raise self._full() from None
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _look_soon(self) -> None:
        if self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(_LOOK_S, self._look)

    def _look(self) -> None:
        """Counts what has come in, ends what is too much, and lets in who waits."""
        self._looking = None
        now = time.monotonic()
        for arrival in self._on_their_way():
            if now >= arrival.end:
                _end(arrival, DeadlineExceeded(f"the request did not arrive within {self._limit_s:g} s"))
        self._peers = {name: peer for name, peer in self._peers.items() if peer.arrivals}
        sizes = {peer: self._on_the_way(peer) for peer in self._peers.values()}
        heaviest = sorted(sizes, key=lambda peer: sizes[peer], reverse=True)
        self.arriving = sum(sizes.values())
        room = self._room()
        if room > 0:
            self._let_in(max(_FEWEST, room // _EACH))
        elif self._waiters and now - self._waiters[0].since >= _PATIENCE_S / 4:
            for peer in [peer for peer in heaviest if now - peer.oldest.started >= _PATIENCE_S][:1]:
                self._end_oldest(peer)
        for peer in heaviest:
            if room >= 0:
                break
            self._end_oldest(peer)
            room += sizes[peer]
        if self._peers or self._waiters:
            self._look_soon()

    def _room(self) -> int:
        """Bytes that may come in. Requests that are being answered leave a part to those that arrive."""
        return max(self.budget - self.held, self.budget // _ALWAYS_FOR_ARRIVALS) - self.arriving

    def _let_in(self, count: int) -> None:
        """So many of those that wait, in the order of their coming.

        But first those of whose connection nothing is on its way.
        """
        busy = self._peers
        turn = sorted(self._waiters, key=lambda one: len(busy[one.peer].arrivals) if one.peer in busy else 0)
        for waiter in turn[:count]:
            self._waiters.remove(waiter)
            if not waiter.go.done():
                waiter.go.set_result(None)

    def _on_the_way(self, peer: _Peer) -> int:
        """Bytes of the connection's requests that have not arrived whole, those of their frames included."""
        received = self._received(peer.name)
        if received is None:
            return 0
        at_start, whole_then = peer.oldest.known
        peer.known = received, peer.whole
        return max(0, received - at_start - (peer.whole - whole_then))

    def _end_oldest(self, peer: _Peer) -> None:
        oldest = next((arrival for arrival in peer.arrivals if arrival.ended is None), None)
        if oldest is not None:
            _end(oldest, self._full())

    def _on_their_way(self) -> list[_Arrival]:
        return [arrival for peer in self._peers.values() for arrival in peer.arrivals]

    def _full(self) -> ResourceExhausted:
        return ResourceExhausted(
            f"{self.held + self.arriving} bytes of requests are in memory or on their way, "
            f"the limit is {self.budget}",
            "REQUEST_MEMORY_FULL",
            retry_after_s=_RETRY_S,
        )


def _end(arrival: _Arrival, why: ServiceError) -> None:
    if arrival.ended is None:
        arrival.ended = why
        arrival.task.cancel()
