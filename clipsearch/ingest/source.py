"""What a source of bulk loading is: items in a fixed order, checked before the first is sent."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from clipsearch.inputs import VectorLike

_SURROGATES = re.compile("[\ud800-\udfff]")  # how Python holds the bytes that are no UTF-8


class SourceError(ValueError):
    """The source cannot be loaded; the message names file, line and column. Nothing was written."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to load, its picture not read yet.

    `position` counts from 0 in the source; `place` says to people where it stands. Without an `id`
    it gets the hash of its content. `size` is about how many bytes it takes to send. Vectors are
    [dimension].
    """

    position: int
    place: str
    id: str | None = None
    path: Path | None = None
    text: str | None = None
    image_vector: VectorLike | None = None
    text_vector: VectorLike | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)
    size: int = 0

    @property
    def is_encoded(self) -> bool:
        """True if the encoder has work with it."""
        return self.image_vector is None and self.text_vector is None


class Source(Protocol):
    """Items to load: a folder of pictures, a list, or ready-made vectors."""

    def prepare(self) -> int:
        """Reads through the source, checks it, and returns how many items it has. Raises SourceError."""

    def items(self) -> Iterator[Item]:
        """All items, in an order that stays the same as long as the source does."""

    @property
    def dimension(self) -> int | None:
        """Of ready vectors; None where the encoder makes them."""

    def identity(self) -> dict[str, str] | None:
        """What makes it this source and no other; None where a checkpoint makes no sense."""


def digest_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_size(path: Path) -> int:
    """Bytes of a file; 0 if it cannot be told: reading it will say what is wrong."""
    try:
        return path.stat().st_size
    except (OSError, ValueError):  # ValueError: the text cannot be a path
        return 0


def path_text(path: Path | str) -> str:
    """A path as text: bytes of a file name that are no UTF-8 become replacement characters."""
    return _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", str(path))
