"""The front ends' processes: started, watched, replaced when they die, told to drain."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from encoder_service.frontends.answering import Answering
from encoder_service.frontends.frontend import Facts
from encoder_service.frontends.metrics import kept
from encoder_service.frontends.shared import Ledger, Segment, Shape, create, slots_of
from encoder_service.frontends.wire import Stop, Welcome
from encoder_service.loading import OpenModel
from encoder_service.settings import EncoderSettings

# A front end asks once a second whether the session process lives: one that is silent for so long hangs.
_SILENT_S = 10.0
_START_S = 60.0
# From the end of its connection to its own.
_END_S = 10.0
# From one start to the next, so that a front end that dies at its first call does not eat the CPU.
_SHORTEST_LIFE_S = 1.0
_LONGEST_PAUSE_S = 30.0
# Starts in vain, one after another, that end the service when no front end is left that serves.
_MOST_FAILURES = 3

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _FrontEnd:
    """One that runs."""

    process: asyncio.subprocess.Process
    answering: Answering


class FrontEnds:
    """The front ends of one model."""

    def __init__(self, settings: EncoderSettings, model: OpenModel, loop_lag: bool) -> None:
        """`settings` are those of the front ends: with the port to listen on."""
        self.serving = asyncio.Event()
        """All serve, for the first time."""
        self.failed = asyncio.Event()
        """The service cannot go on; `problem` says why."""
        self.problem = ""
        self.restarts = 0
        self._settings, self._model, self._loop_lag = settings, model, loop_lag
        self._departed = ""
        self._ledger_fd = create("counts", Ledger.size(settings.frontends))
        self._ledger = Ledger(self._ledger_fd, settings.frontends)
        self._running: dict[int, _FrontEnd] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._draining = asyncio.Event()

    async def __aenter__(self) -> FrontEnds:
        self._keepers = [asyncio.create_task(self._keep(row)) for row in range(self._settings.frontends)]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Ends those that still run at once."""
        self._draining.set()
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for front in self._running.values():
            _kill(front.process)
        await asyncio.gather(*(front.process.wait() for front in self._running.values()))
        os.close(self._ledger_fd)

    async def drain(self, within_s: float, hurry: asyncio.Event) -> None:
        """Lets all of them drain and end; returns when they have, or after `within_s` seconds."""
        self._draining.set()
        self._tell(Stop(False))
        ended = asyncio.gather(*self._keepers, return_exceptions=True)
        hurried = asyncio.create_task(self._hurry(hurry))
        done, _ = await asyncio.wait([ended], timeout=within_s)
        hurried.cancel()
        if not done:
            _log.error("front ends do not end and are killed", frontends=sorted(self._running))

    async def scrape(self, within_s: float) -> Sequence[str]:
        """As `snapshots`, renewed where a front end answers in time."""
        await asyncio.gather(*(front.answering.scrape(within_s) for front in self._running.values()))
        return self.snapshots  # read in one step: one that dies meanwhile is on one side or the other

    @property
    def snapshots(self) -> Sequence[str]:
        """The metrics that those that run have sent last, and what those that have died have counted."""
        return [*(front.answering.snapshot for front in self._running.values()), self._departed]

    async def _hurry(self, hurry: asyncio.Event) -> None:
        await hurry.wait()
        self._tell(Stop(True))

    def _tell(self, message: Stop) -> None:
        for front in self._running.values():
            front.answering.send(message)

    async def _keep(self, row: int) -> None:
        """Has the front end of a row running until the service drains or fails."""
        failures = 0
        while not self._draining.is_set() and not self.failed.is_set():
            begun = time.monotonic()
            served, problem = await self._live(row)
            if self._draining.is_set():
                return
            failures = 0 if served else failures + 1
            if not self.serving.is_set():
                self._fail(problem)
                return
            if failures >= _MOST_FAILURES and not self.serving_now:
                self._fail(problem)
                return
            _log.error("a front end has ended and is started again", frontend=row, problem=problem)
            self.restarts += 1
            pause = min(_LONGEST_PAUSE_S, 2.0**failures) if failures else _SHORTEST_LIFE_S
            await _either(self._draining, begun + pause - time.monotonic())

    async def _live(self, row: int) -> tuple[bool, str]:
        """Runs a front end to its end; says whether it has ever served, and how it ended."""
        try:
            front = await self._start(row)
        except OSError as error:
            return False, f"front end {row} cannot be started: {error.strerror}"
        self._running[row] = front
        if self._draining.is_set():
            front.answering.send(Stop(False))
        watching = asyncio.create_task(_watch(front))
        try:
            status = await front.process.wait()
            await front.answering.gone.wait()
        finally:
            watching.cancel()
        del self._running[row]
        self._ledger.forget(row)
        self._departed = kept(self._departed, front.answering.snapshot)
        return front.answering.served, front.answering.refused or f"front end {row} {_how(status)}"

    async def _start(self, row: int) -> _FrontEnd:
        settings, manifest = self._settings, self._model.manifest
        shape = Shape(slots_of(settings.queue_images), manifest.image.size, manifest.dimension)
        slots = create(f"slots-{row}", shape.bytes)
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                answering = Answering(
                    self._model.pictures,
                    self._model.texts,
                    Segment.of(slots, shape),
                    manifest.text.context_length,
                    self._changed,
                    lambda: self._model.proving.problem,
                )
                await asyncio.get_running_loop().create_unix_connection(lambda: answering, sock=ours)
                descriptors = (theirs.fileno(), slots, self._ledger_fd)
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *("-m", "encoder_service.frontends.frontend"),
                    *map(str, descriptors),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=descriptors,
                )
            finally:
                os.close(slots)
        answering.send(Welcome(Facts(settings, manifest, self._model.running, row, self._loop_lag).to_json()))
        if self.serving.is_set():
            answering.go()
        return _FrontEnd(process, answering)

    def _changed(self) -> None:
        """A front end listens, serves or is gone."""
        fronts = [front.answering for front in self._running.values()]
        if self.serving.is_set() or len(fronts) < self._settings.frontends:
            return
        if all(front.listens for front in fronts):
            for front in fronts:
                front.go()
        if all(front.serving for front in fronts):
            self.serving.set()

    def _fail(self, problem: str) -> None:
        self.problem = self.problem or problem
        self.failed.set()

    @property
    def serving_now(self) -> int:
        """How many serve."""
        return sum(front.answering.serving for front in self._running.values())


async def _watch(front: _FrontEnd) -> None:
    """Kills a front end that hangs, or lives on without its connection."""
    answering = front.answering
    while not answering.gone.is_set():
        await _either(answering.gone, 1.0)
        silent_s = time.monotonic() - answering.heard
        if silent_s > (_SILENT_S if answering.listens else _START_S):
            _log.error("a front end hangs and is killed", silent_s=round(silent_s, 1))
            break
    else:
        await asyncio.sleep(_END_S)
    _kill(front.process)


async def _either(event: asyncio.Event, seconds: float) -> None:
    """Returns when the event is set or the seconds have passed."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), max(0.0, seconds))


def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()


def _how(status: int) -> str:
    return f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
