"""The process that owns a collection's shard: takes requests from the service, one after another.

    python -m search_service.stores.edge.engine PARENT SOCKET

PARENT is the service's process id, SOCKET an inherited socket. To each `Request` there is one
answer, a result or a `Fault`. The process ends when the socket does. It can die at any moment
without losing a write that it acknowledged: those are in the engine's write-ahead log, in the
operating system's hands, and the service has the log written to disk. One that has nothing open can
be asked to build the index of a shard that nobody has.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import IO, Any

from search_service.stores.edge.codec import Fault, FaultKind, Request, encode, read
from search_service.stores.edge.shard import Shard

WRITES = frozenset({"upsert", "delete", "update_payload", "create_payload_index"})
# A tenth of what others want of a full machine. At 19 it is a sixtieth: 2,000 vectors took 104 s on two
# cores that ten processes wanted, and as long as there is no index, searches want more of them.
_NICE = 10
_PR_SET_PDEATHSIG = 1


class Engine:
    """Creates, opens and serves one collection."""

    def __init__(self) -> None:
        self._shard: Shard | None = None
        self._record: IO[bytes] | None = None

    def answer(self, request: Request) -> object:
        """The result, or the Fault."""
        if request.deadline is not None and time.monotonic() > request.deadline:
            return Fault("late", "the deadline passed before the engine began")
        try:
            own = getattr(self, request.method, None)
            if own is not None:
                return own(*request.arguments)
            result = getattr(self._shard, request.method)(*request.arguments)
            if request.method in WRITES:
                self._note(request)
            return result
        except Exception as error:  # the engine raises nothing more exact
            return Fault(_kind(error), f"{type(error).__name__}: {error}")

    def ping(self) -> None:
        """Shows that the process works."""

    def create(self, folder: Path, *settings: Any) -> None:
        """Makes a collection in an empty folder; it is not open then."""
        Shard.create(folder, *settings)

    def open(self, folder: Path, shard: str) -> None:
        """Opens a collection's shard."""
        self._shard = Shard(folder, shard)

    def optimize(self, shard: Path, index_threshold: int) -> bool:
        """Builds the index of a shard at a low priority, from now on that of this process."""
        os.nice(_NICE)
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))  # takes no core from who wakes up
        return Shard.optimize(shard, index_threshold)

    def record(self, path: Path) -> None:
        """Notes every write from now on in a file, for `replay`."""
        self._record = path.open("wb", buffering=0)

    def recorded(self) -> int:
        """How many bytes the record has."""
        if self._record is None:
            raise RuntimeError("writes are not recorded")
        return self._record.tell()

    def stop_recording(self) -> None:
        """Notes no more."""
        if self._record is not None:
            self._record.close()
            self._record = None

    def replay(self, path: Path, start: int, end: int) -> None:
        """Does the writes of another engine's record, from one position to another, again."""
        with path.open("rb") as file:
            file.seek(start)
            while file.tell() < end:
                request: Request = read(file)
                getattr(self._shard, request.method)(*request.arguments)

    def _note(self, request: Request) -> None:
        """A write that cannot be noted has been done all the same: the record is given up instead."""
        if self._record is not None:
            try:
                self._record.write(encode(request))
            except OSError:
                self.stop_recording()

    def shut(self) -> None:
        """Flushes and closes the shard."""
        if self._shard is not None:
            self._shard.close()
            self._shard = None


def _kind(error: Exception) -> FaultKind:
    """The engine tells of disks in words only."""
    text = str(error)
    if (isinstance(error, OSError) and error.errno == errno.ENOSPC) or "No space left" in text:
        return "disk full"
    if isinstance(error, OSError) or "os error" in text or "Os { code:" in text:
        return "disk"
    return "engine"


def become_child(parent: int) -> None:
    """Leaves it to the process `parent` to end this one, also on a Ctrl-C, and dies with it.

    Where the operating system has no signal for that, the end of the socket tells.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked for the signal
        sys.exit("the service has gone")


def main() -> None:
    """Serves until the socket ends."""
    become_child(int(sys.argv[1]))
    engine = Engine()
    with (
        contextlib.suppress(EOFError, ConnectionError),
        socket.socket(fileno=int(sys.argv[2])) as connection,
        connection.makefile("rb") as requests,
    ):
        while True:
            connection.sendall(encode(engine.answer(read(requests))))
    engine.shut()


if __name__ == "__main__":
    main()
