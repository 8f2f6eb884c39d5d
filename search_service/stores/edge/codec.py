"""What travels between the service and its engine processes, and how it is encoded.

To the engine go a method's name and its arguments, back comes a result or a `Fault`. Both ends are this
program, started from the same files, so pickle is safe between them.
"""

from __future__ import annotations

import copyreg
import errno
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import IO, Any, Literal, TypeAlias

from search_service.stores.protocol import (
    PayloadSelection,
    ScoredPoint,
    StoredPoint,
    VectorQuery,
    WordsQuery,
)

LENGTH_BYTES = 8
# Of an answer to many questions: 64 searches for 1,000 hits of 60 KB took 9 GB.
MOST_ANSWER_BYTES = 256 << 20


class AnswerTooLarge(Exception):
    """More was found than is sent; the message is for the caller."""


FaultKind: TypeAlias = Literal["disk full", "disk", "engine", "too large"]


@dataclass(frozen=True, slots=True)
class Fault:
    """Why there is no result. `message` is for the log and may hold paths; of "too large" for the caller."""

    kind: FaultKind
    message: str


def fault_of(error: Exception) -> Fault:
    """What is told of an error. The engine raises nothing exact, and tells of disks in words only."""
    text = str(error)
    if isinstance(error, AnswerTooLarge):
        return Fault("too large", text)
    if (isinstance(error, OSError) and error.errno == errno.ENOSPC) or "No space left" in text:
        kind: FaultKind = "disk full"
    elif isinstance(error, OSError) or "os error" in text or "Os { code:" in text:
        kind = "disk"
    else:
        kind = "engine"
    return Fault(kind, f"{type(error).__name__}: {text}")


@dataclass(frozen=True, slots=True)
class ShardInfo:
    """What the engine knows of a collection."""

    points: int
    image_vectors: int
    text_vectors: int
    indexed_vectors: int


# A point on its way to the engine's process: id, payload, and the bytes of its image and text vectors.
# Pickling 256 of them takes a third of the time that as many StoredPoints take (0.6 ms, 1.9 ms).
PackedPoint: TypeAlias = tuple[str, Mapping[str, Any], bytes | None, bytes | None]


def pack_point(point: StoredPoint) -> PackedPoint:
    """The point as it travels to the engine's process."""
    image, text = (None if vector is None else vector.tobytes() for vector in (point.image, point.text))
    return point.id, point.payload, image, text


def encode(value: object) -> bytes:
    """The value as it travels, its length first."""
    body = pickle.dumps(value, protocol=5)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def total_bytes(part: object, before: int) -> int:
    """Bytes that an answer takes with this part of it and those before. Raises AnswerTooLarge."""
    size = before + len(encode(part))
    if size > MOST_ANSWER_BYTES:
        raise AnswerTooLarge(
            f"the hits found take more than {MOST_ANSWER_BYTES >> 20} MiB; ask for fewer in a call, or for "
            "less of their payloads"
        )
    return size


def read(file: IO[bytes]) -> Any:
    """The next value. Raises EOFError at the end."""
    head = file.read(LENGTH_BYTES)
    if len(head) < LENGTH_BYTES:
        raise EOFError
    return decode(file.read(int.from_bytes(head, "big")))


def decode(body: bytes) -> Any:
    """The value of what follows its length."""
    return pickle.loads(body)  # noqa: S301 - see above


def _pickle_by_constructor(kind: type) -> None:
    """A class and its fields in order, in place of what dataclass does for frozen ones with slots.

    The answer to a search of ten hits is then written in 13 us and read in 21, not in 48 each; the
    fusion of both vector names asks for 256 points.
    """
    names = [field.name for field in fields(kind)]
    # attrgetter of a single name gives no tuple.
    values = attrgetter(*names) if len(names) > 1 else lambda value: (getattr(value, names[0]),)
    copyreg.pickle(kind, lambda value: (kind, values(value)))


for _kind in (VectorQuery, WordsQuery, PayloadSelection, ScoredPoint, StoredPoint):
    _pickle_by_constructor(_kind)
