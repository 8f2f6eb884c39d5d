"""What travels between the service and its engine processes: requests, faults, and how they are framed.

Both ends are this program, started from the same files, so pickle is safe between them.
"""

from __future__ import annotations

import copyreg
import pickle
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import IO, Any, Literal

from search_service.stores.protocol import PayloadSelection, ScoredPoint, StoredPoint, VectorQuery

LENGTH_BYTES = 8

FaultKind = Literal["late", "disk full", "disk", "engine"]


@dataclass(frozen=True, slots=True)
class Request:
    """A method of EdgeCollection or of Engine. Not begun after `deadline` (time.monotonic())."""

    method: str
    arguments: tuple[Any, ...]
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """Why there is no result. `message` is for the log, it may hold paths."""

    kind: FaultKind
    message: str


def frame(value: object) -> bytes:
    """The value as it travels, its length first."""
    body = pickle.dumps(value, protocol=5)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def read_frame(file: IO[bytes]) -> Any:
    """The next value. Raises EOFError at the end."""
    head = file.read(LENGTH_BYTES)
    if len(head) < LENGTH_BYTES:
        raise EOFError
    return unframed(file.read(int.from_bytes(head, "big")))


def unframed(body: bytes) -> Any:
    """The value of a frame without its length."""
    return pickle.loads(body)  # noqa: S301 - see above


def _pickle_by_constructor(kind: type) -> None:
    """A class and its fields in order, in place of what dataclass does for frozen ones with slots.

    The answer to a search of ten hits is then written in 13 us and read in 21, not in 48 each; the
    fusion of two sides asks for 256 points.
    """
    names = [field.name for field in fields(kind)]
    # attrgetter of a single name gives no tuple.
    values = attrgetter(*names) if len(names) > 1 else lambda value: (getattr(value, names[0]),)
    copyreg.pickle(kind, lambda value: (kind, values(value)))


for _kind in (Request, VectorQuery, PayloadSelection, ScoredPoint, StoredPoint):
    _pickle_by_constructor(_kind)
