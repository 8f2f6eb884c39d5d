"""The service's end of its engine processes: starts them, asks them, notices when they die, ends them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Coroutine
from contextvars import Context
from pathlib import Path
from typing import Any, TypeVar

import structlog

from clipsearch.serving.errors import InvalidArgument, ServiceError, Unavailable
from search_service.stores.edge.codec import LENGTH_BYTES, MOST_ANSWER_BYTES, Fault, decode, encode
from search_service.stores.edge.files import disk_full

_log = structlog.get_logger(__name__)
_SENT_AHEAD = 4  # requests with the engine, so that it never waits for the next; the others wait here
_DISK_S = 10.0  # a flush may take, or a core on a busy machine; a disk that takes longer hangs
_STOP_S = 60.0  # a flush of a large collection takes seconds

T = TypeVar("T")


class EngineFailed(Exception):
    """The engine refused something that it should not; a fault of this program or of the engine."""


class EngineStopped(Unavailable):
    """The process has died; what it was asked may be done or not, and a new one may be asked again."""

    def __init__(self) -> None:
        super().__init__("store", "the collection's engine has stopped; it is started again when needed")


class Children:
    """The engine processes of one store. Whoever starts one ends it; `end` is for those that are left.

    Each inherits the data directory's lock. One that outlived the store would keep the next one out, and
    write into folders that are removed or in use.
    """

    def __init__(self, lock: int) -> None:
        self._lock = lock  # the descriptor that they inherit
        self._running: list[subprocess.Popen[bytes]] = []
        self._ended = False

    def start(self, connection: int) -> subprocess.Popen[bytes]:
        """Runs an engine that inherits its end of the socket.

        Call it from the thread of the event loop: a child dies when the thread that started it ends.
        Raises Unavailable once the store is closed.
        """
        if self._ended:
            raise Unavailable("store", "the store is closed")
        process = subprocess.Popen(
            [sys.executable, "-m", "search_service.stores.edge.engine", str(os.getpid()), str(connection)],
            stdin=subprocess.DEVNULL,
            pass_fds=(connection, self._lock),
            # It computes nothing with numpy, whose OpenBLAS starts a thread a core all the same. Without them
            # its start takes 0.12 s, before 0.17, of CPU 0.09 s, before 0.14, and as much memory (two cores).
            env=dict(os.environ, OPENBLAS_NUM_THREADS="1"),
        )
        self._running = [*(other for other in self._running if other.poll() is None), process]
        return process

    async def end(self) -> None:
        """Kills those that still run and waits until they are gone. None can be started any more."""
        self._ended = True
        for process in self._running:
            process.kill()
        for process in self._running:
            await asyncio.to_thread(process.wait)


class EngineProcess:
    """One engine process. Requests are answered in their order. Make one with `start`."""

    def __init__(
        self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._writer = writer
        self._queued: deque[tuple[bytes, asyncio.Future[Any]]] = deque()
        self._waiting: deque[asyncio.Future[Any]] = deque()  # for answers to what was sent
        self._answers = asyncio.create_task(self._read_answers(reader), context=Context())  # of all calls
        self._answered = 0
        self._worked_at = time.monotonic()
        self._ping: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, children: Children) -> EngineProcess:
        """Starts an engine that has nothing open."""
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as on_failure:
            on_failure.enter_context(ours)
            with theirs:
                process = children.start(theirs.fileno())
            try:
                reader, writer = await asyncio.open_unix_connection(sock=ours)
            except BaseException:
                process.kill()
                await whole(asyncio.to_thread(process.wait))
                raise
            on_failure.pop_all()
        return cls(process, reader, writer)

    @property
    def alive(self) -> bool:
        """Whether it takes requests."""
        return not self._answers.done()

    async def call(self, method: str, *arguments: Any) -> Any:
        """The method's result; nothing that has not reached the engine is done for a caller who has gone.

        Raises ResourceExhausted for a full disk, Unavailable if the process or its disk fails, EngineFailed.
        """
        if not self.alive:
            raise EngineStopped
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queued.append((encode((method, arguments)), answer))
        self._send()
        result = await answer
        if isinstance(result, Fault):
            raise _error(method, result)
        return result

    async def responds(self, within_s: float) -> bool:
        """Whether it answers, or is at work: an engine does one thing after another, some for seconds."""
        answered, (_, ticks) = self._answered, _at_work(self._process.pid)
        if self._ping is None or self._ping.done():  # one is enough, however long it is not answered
            self._ping = asyncio.create_task(self._answer_to_ping())
        await asyncio.wait([self._ping], timeout=within_s)
        waits, ticks_now = _at_work(self._process.pid)
        if self._ping.done() or self._answered != answered or ticks_now != ticks:
            self._worked_at = time.monotonic()
            return True
        return waits and time.monotonic() - self._worked_at < _DISK_S

    async def _answer_to_ping(self) -> None:
        # One that has died is started again at the next call: no reason to refuse that.
        with contextlib.suppress(ServiceError):
            await self.call("ping")

    async def stop(self, *, flush: bool = True) -> None:
        """Lets it answer what it was asked, for a minute at most, and flush; then ends it.

        Cancelled, it ends it at once. In any case the process is gone on return.
        """
        try:
            async with asyncio.timeout(_STOP_S):
                if flush:
                    await self.call("shut")
                elif self._waiting:
                    await self.call("ping")
        except TimeoutError:
            _log.error("an engine does not stop and is killed", pid=self._process.pid)
        except (EngineFailed, ServiceError) as error:  # what is acknowledged is in the write-ahead log
            _log.warning("an engine was not flushed", detail=str(error))
        finally:
            await self.kill()

    async def kill(self) -> None:
        """Ends it at once. The process is gone on return, also of a call that is cancelled."""
        await whole(self._end())

    async def _end(self) -> None:
        self._process.kill()
        await asyncio.to_thread(self._process.wait)
        await asyncio.wait([self._answers])
        self._writer.close()

    def _send(self) -> None:
        """Keeps the engine in requests, but not in those whose caller has gone."""
        while self._queued and len(self._waiting) < _SENT_AHEAD:
            request, answer = self._queued.popleft()
            if not answer.done():
                self._waiting.append(answer)
                self._writer.write(request)

    async def _read_answers(self, reader: asyncio.StreamReader) -> None:
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
                    result = decode(await reader.readexactly(length))
                    answer = self._waiting.popleft()
                    self._answered += 1
                    if not answer.done():  # the caller may have gone
                        answer.set_result(result)
                    self._send()
        except Exception:
            _log.exception("an engine's answer cannot be read")
        finally:
            for answer in (*self._waiting, *(answer for _, answer in self._queued)):
                if not answer.done():
                    answer.set_exception(EngineStopped())
            self._waiting.clear()
            self._queued.clear()


async def whole(job: Coroutine[Any, Any, T]) -> T:
    """Does a job that must not be left half done: cancellations, however many, wait for its end."""
    task = asyncio.create_task(job)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled from (None if task.cancelled() else task.exception())
    return task.result()


def _at_work(pid: int) -> tuple[bool, int]:
    """Whether a process waits for disk or core, and its CPU time in clock ticks; where Linux tells that."""
    try:
        # After the command's name, which may hold spaces: the state, and 11 fields on the two times.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False, 0
    return fields[0] in ("D", "R"), int(fields[11]) + int(fields[12])


def _error(method: str, fault: Fault) -> Exception:
    if fault.kind == "too large":
        limit = {"limit": str(MOST_ANSWER_BYTES)}
        return InvalidArgument("request", fault.message, "STORE_REFUSED", limit)
    if fault.kind == "engine":
        return EngineFailed(f"{method}: {fault.message}")
    _log.warning("the engine failed", method=method, kind=fault.kind, detail=fault.message)
    if fault.kind == "disk full":
        return disk_full()
    return Unavailable("store", "the store's disk cannot be read or written")
