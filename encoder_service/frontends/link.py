"""A front end's link to the session process: batchers that compute over there, orders from there."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from clipsearch.serving.errors import DeadlineExceeded, Unavailable
from encoder_service.batching import Computed
from encoder_service.frontends.outbox import Outbox
from encoder_service.frontends.shared import Slots
from encoder_service.frontends.wire import (
    Answer,
    Cancel,
    Failure,
    Frames,
    Message,
    Picture,
    Ping,
    Pong,
    Scrape,
    Snapshot,
    Stop,
    Text,
    TextAnswer,
    Welcome,
)
from encoder_service.tokens import Tokens

_log = structlog.get_logger(__name__)


class SessionFailed(Exception):
    """The session process could not run a batch; its log says why."""


class Link(asyncio.Protocol):
    """The connection to the session process, asked by number and answered in any order."""

    def __init__(
        self,
        on_stop: Callable[[bool], None],
        on_lost: Callable[[], None],
        snapshot: Callable[[], str],
    ) -> None:
        """`on_stop` hears of orders to drain (hurry: at once), `on_lost` that the session process is gone.

        `snapshot` is the JSON of the metrics; it is called in a thread.
        """
        self.welcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.lost = False
        self._on_stop, self._on_lost, self._snapshot = on_stop, on_lost, snapshot
        self._frames = Frames()
        self._outbox: Outbox
        self._ids = itertools.count()
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._scrapes: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102
        assert isinstance(transport, asyncio.Transport)
        self._outbox = Outbox(transport)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: D102
        self.lost = True
        for answer in (self.welcome, *self._asked.values()):
            if not answer.done():
                answer.set_exception(_gone())
        self._asked.clear()
        self._on_lost()

    def data_received(self, data: bytes) -> None:  # noqa: D102
        for message in self._frames.feed(data):
            self._take(message)

    def send(self, message: Message) -> None:
        """Sends a message that has no answer."""
        self._outbox.put(message)

    async def ask(self, message: Callable[[int], Message]) -> Any:
        """Sends the message of a number and waits for its answer; cancelling cancels it over there too.

        Raises Unavailable if the session process is gone or stops, DeadlineExceeded, SessionFailed.
        """
        if self.lost:
            raise _gone()
        id = next(self._ids)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked[id] = answer
        self._outbox.put(message(id))
        try:
            return await answer
        finally:
            if self._asked.pop(id, None) is not None:  # not answered
                self._outbox.put(Cancel(id))

    async def ping(self) -> None:
        """Returns once the session process answers and all front ends are up.

        Raises Unavailable if a session fails, or the session process is gone.
        """
        await self.ask(Ping)

    def _take(self, message: Message) -> None:
        if isinstance(message, Answer | TextAnswer):
            self._answer(message.id, message)
        elif isinstance(message, Failure):
            self._answer(message.id, _error(message))
        elif isinstance(message, Pong):
            self._answer(message.id, None)
        elif isinstance(message, Stop):
            self._on_stop(message.hurry)
        elif isinstance(message, Scrape):
            task = asyncio.create_task(self._scraped(message.id))
            self._scrapes.add(task)
            task.add_done_callback(self._scrapes.discard)
        elif isinstance(message, Welcome) and not self.welcome.done():
            self.welcome.set_result(message.facts)

    def _answer(self, id: int, result: Any) -> None:
        answer = self._asked.pop(id, None)
        if answer is None or answer.done():  # cancelled, which crossed with the answer
            return
        if isinstance(result, Exception):
            answer.set_exception(result)
        else:
            answer.set_result(result)

    async def _scraped(self, id: int) -> None:
        self.send(Snapshot(id, await asyncio.to_thread(self._snapshot)))


class RemotePictures:
    """The batcher of pictures, over there; pixels go by shared memory."""

    def __init__(self, link: Link, slots: Slots) -> None:
        self._link, self._slots = link, slots

    def __len__(self) -> int:
        """Pictures that wait for a slot; those that wait for the session are counted there."""
        return self._slots.waiting

    async def compute(self, item: NDArray[np.uint8], deadline: float, ahead: int = 0) -> Computed:
        """As Batcher.compute."""
        begun = time.monotonic()
        async with self._slots.taken() as slot:
            waited_s = time.monotonic() - begun
            if begun + waited_s >= deadline:
                raise DeadlineExceeded()
            # One that is cancelled gives its slot back at once: should the session read it just then, it
            # reads pixels for an answer that nobody gets.
            self._slots.pixels[slot] = item
            answer: Answer = await self._link.ask(lambda id: Picture(id, slot, ahead, deadline))
            vector = self._slots.vectors[slot].copy()
        return Computed(vector, waited_s + answer.queue_s, answer.infer_s)


class RemoteTexts:
    """The batcher of texts, over there."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def __len__(self) -> int:
        """Texts that wait here: none."""
        return 0

    async def compute(self, item: Tokens, deadline: float, ahead: int = 0) -> Computed:
        """As Batcher.compute."""
        answer: TextAnswer = await self._link.ask(lambda id: Text(id, ahead, deadline, item.ids))
        return Computed(answer.vector, answer.queue_s, answer.infer_s)


def _gone() -> Unavailable:
    return Unavailable("encoder", "the session process is gone")


def _error(failure: Failure) -> Exception:
    if failure.name == "late":
        return DeadlineExceeded()
    if failure.name == "unavailable":
        return Unavailable("encoder", failure.message)
    return SessionFailed(failure.message)
