"""The session process's end of a front end's connection: items into the batchers, vectors back.

What comes from a front end is checked before it gets near the session: a front end decodes what
strangers send, and one that was taken over must not spoil the batches of the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import structlog
from numpy.typing import NDArray

from clipsearch.serving.errors import DeadlineExceeded, Unavailable
from encoder_service.batching import Batcher, Computed, Item
from encoder_service.frontends.outbox import Outbox
from encoder_service.frontends.shared import Segment
from encoder_service.frontends.wire import (
    Answer,
    Cancel,
    Failure,
    Frames,
    Message,
    Picture,
    Ping,
    Pong,
    Refused,
    Scrape,
    Serving,
    Snapshot,
    Text,
    TextAnswer,
    WireError,
)
from encoder_service.tokens import TextInput, Tokens

_log = structlog.get_logger(__name__)


class Answering(asyncio.Protocol):
    """One front end. `on_change` hears that it listens or is serving."""

    def __init__(
        self,
        pictures: Batcher[NDArray[np.uint8]],
        texts: Batcher[Tokens],
        slots: Segment,
        longest_text: int,
        on_change: Callable[[], None],
        problem: Callable[[], str],
    ) -> None:
        """A text has at most `longest_text` ids. `problem` says which session fails, "" = none."""
        self.listens = False
        self.serving = False
        self.served = False
        self.refused: str | None = None
        self.heard = time.monotonic()
        self.gone = asyncio.Event()
        self.snapshot = ""
        self._pictures, self._texts = pictures, texts
        self._slots: Segment | None = slots  # until it is gone: its memory is not to wait for the collector
        self._longest_text = longest_text
        self._on_change, self._problem = on_change, problem
        self._frames = Frames()
        self._transport: asyncio.Transport
        self._outbox: Outbox
        self._work: dict[int, asyncio.Future[Computed]] = {}
        self._pings: list[int] = []
        self._go = False
        self._scraped: asyncio.Future[None] | None = None
        self._told: BaseException | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._outbox = Outbox(transport)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: D102
        for work in list(self._work.values()):
            work.cancel()
        self.serving = self.listens = False
        self._slots = self._told = None
        self.gone.set()
        self._on_change()

    def data_received(self, data: bytes) -> None:  # noqa: D102
        self.heard = time.monotonic()
        try:
            for message in self._frames.feed(data):
                self._take(message)
        except WireError as error:
            _log.error("a front end sent what is no message, it is let go", problem=str(error))
            self._transport.abort()

    def send(self, message: Message) -> None:
        """Sends the front end a message."""
        self._outbox.put(message)

    def go(self) -> None:
        """From now on it may say that it is ready."""
        self._go = True
        for id in self._pings:
            self._pong(id)
        self._pings.clear()

    async def scrape(self, within_s: float) -> None:
        """Has `snapshot` (its metrics as JSON, "" = it has sent none) renewed, if it answers in time."""
        if self._scraped is None or self._scraped.done():
            self._scraped = asyncio.get_running_loop().create_future()
            self.send(Scrape(0))
        await asyncio.wait([self._scraped], timeout=0 if self.gone.is_set() else within_s)

    @property
    def in_work(self) -> int:
        """Items that are queued or in the session."""
        return len(self._work)

    def _take(self, message: Message) -> None:
        if isinstance(message, Picture):
            id, slot, ahead, deadline = message
            assert self._slots is not None
            if slot >= len(self._slots.pixels):
                raise WireError(f"slot {slot} of {len(self._slots.pixels)}")
            self._queue(self._pictures, self._slots.pixels[slot], id, deadline, ahead, slot)
        elif isinstance(message, Text):
            id, ahead, deadline, ids = message
            if not 0 < len(ids) <= self._longest_text:
                raise WireError(f"a text of {len(ids)} ids")
            self._queue(self._texts, Tokens(ids, TextInput(len(ids))), id, deadline, ahead)
        elif isinstance(message, Cancel):
            if message.id in self._work:
                self._work[message.id].cancel()
        elif isinstance(message, Ping):
            self._ping(message.id)
        elif isinstance(message, Snapshot):
            self._snapshot(message)
        elif isinstance(message, Serving):
            self.serving = self.served = True
            self._on_change()
        elif isinstance(message, Refused):
            self.refused = message.message
        else:
            raise WireError(f"{type(message).__name__} is not for the session process")

    def _queue(
        self,
        batcher: Batcher[Item],
        item: Item,
        id: int,
        deadline: float,
        ahead: int,
        slot: int | None = None,
    ) -> None:
        if id in self._work:
            raise WireError(f"number {id} is in use")
        if math.isnan(deadline):
            raise WireError("a deadline that is no number")
        try:
            work = batcher.submit(item, deadline, ahead)
        except Unavailable as error:
            self.send(Failure.of(id, "unavailable", error.message))
            return
        self._work[id] = work
        work.add_done_callback(partial(self._done, id, slot))

    def _done(self, id: int, slot: int | None, work: asyncio.Future[Computed]) -> None:
        del self._work[id]
        if work.cancelled() or self._slots is None:
            return
        error = work.exception()
        if error is None:
            done = work.result()
            if slot is None:
                self.send(TextAnswer(id, done.queue_s, done.infer_s, done.vector))
            else:
                self._slots.vectors[slot] = done.vector
                self.send(Answer(id, done.queue_s, done.infer_s))
        elif isinstance(error, DeadlineExceeded):
            self.send(Failure.of(id, "late"))
        elif isinstance(error, Unavailable):
            self.send(Failure.of(id, "unavailable", error.message))
        else:
            if error is not self._told:  # all items of a batch have the same one
                self._told = error
                _log.error("a batch failed", exc_info=error)
            self.send(Failure.of(id, "failed", f"{type(error).__name__}: {error}"))

    def _ping(self, id: int) -> None:
        if self._go:
            self._pong(id)
            return
        self._pings.append(id)
        if not self.listens:
            self.listens = True
            self._on_change()

    def _pong(self, id: int) -> None:
        problem = self._problem()
        self.send(Failure.of(id, "unavailable", problem) if problem else Pong(id))

    def _snapshot(self, message: Snapshot) -> None:
        self.snapshot = message.metrics
        if self._scraped is not None and not self._scraped.done():
            self._scraped.set_result(None)

    def close(self) -> None:
        """Ends the connection."""
        with contextlib.suppress(AttributeError):  # it was never made
            self._transport.abort()
