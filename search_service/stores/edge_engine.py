"""The process that owns a collection's shard: takes requests from the service, one after another.

    python -m search_service.stores.edge_engine PARENT SOCKET

PARENT is the service's process id, SOCKET an inherited socket. A request is a pickled `Request`,
an answer a pickled result or `Fault`, each after its length. The other end is the same program, so
pickle is safe here. The process ends when the socket does. It can die at any moment without losing
a write that it acknowledged: those are in the engine's write-ahead log, in the operating system's
hands, and the service has the log written to disk.
"""

from __future__ import annotations

import contextlib
import errno
import pickle
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from search_service.stores.edge_child import become_child
from search_service.stores.edge_collection import EdgeCollection

LENGTH_BYTES = 8
WRITES = frozenset({"upsert", "delete", "create_payload_index"})


@dataclass(frozen=True, slots=True)
class Request:
    """A method of EdgeCollection or of Engine. Not begun after `deadline` (time.monotonic())."""

    method: str
    arguments: tuple[Any, ...]
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """Why there is no result. `message` is for the log, it may hold paths."""

    kind: Literal["late", "disk full", "disk", "engine"]
    message: str


def frame(value: object) -> bytes:
    """The value as it travels, its length first."""
    body = pickle.dumps(value, protocol=5)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


class Engine:
    """Creates, opens and serves one collection."""

    def __init__(self) -> None:
        self._collection: EdgeCollection | None = None
        self._record: IO[bytes] | None = None

    def answer(self, request: Request) -> object:
        """The result, or the Fault."""
        if request.deadline is not None and time.monotonic() > request.deadline:
            return Fault("late", "the deadline passed before the engine began")
        try:
            own = getattr(self, request.method, None)
            if own is not None:
                return own(*request.arguments)
            result = getattr(self._collection, request.method)(*request.arguments)
            if request.method in WRITES:
                self._note(request)
            return result
        except Exception as error:  # the engine raises nothing more exact
            return Fault(_kind(error), f"{type(error).__name__}: {error}")

    def create(self, folder: Path, *settings: Any) -> None:
        """Makes a collection in an empty folder; it is not open then."""
        EdgeCollection.create(folder, *settings)

    def open(self, folder: Path, shard: str) -> None:
        """Opens a collection's shard."""
        self._collection = EdgeCollection(folder, shard)

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
                request: Request = read_frame(file)
                getattr(self._collection, request.method)(*request.arguments)

    def _note(self, request: Request) -> None:
        """A write that cannot be noted has been done all the same: the record is given up instead."""
        if self._record is not None:
            try:
                self._record.write(frame(request))
            except OSError:
                self.stop_recording()

    def shut(self) -> None:
        """Flushes and closes the shard."""
        if self._collection is not None:
            self._collection.close()
            self._collection = None


def read_frame(file: IO[bytes]) -> Any:
    """The next value. Raises EOFError at the end."""
    head = file.read(LENGTH_BYTES)
    if len(head) < LENGTH_BYTES:
        raise EOFError
    return pickle.loads(file.read(int.from_bytes(head, "big")))  # noqa: S301 - written by this program


def _kind(error: Exception) -> Literal["disk full", "disk", "engine"]:
    """The engine tells of disks in words only."""
    text = str(error)
    if (isinstance(error, OSError) and error.errno == errno.ENOSPC) or "No space left" in text:
        return "disk full"
    if isinstance(error, OSError) or "os error" in text:
        return "disk"
    return "engine"


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
            connection.sendall(frame(engine.answer(read_frame(requests))))
    engine.shut()


if __name__ == "__main__":
    main()
