"""What a source of bulk loading is: items in a fixed order, and the files that they are read from."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from clipsearch.client.inputs import VectorLike
from clipsearch.files import open_regular

_SURROGATES = re.compile("[\ud800-\udfff]")  # how Python holds the bytes that are no UTF-8


class SourceError(ValueError):
    """The source cannot be loaded; the message names file, line and column. Nothing was written."""


class EmptySource(SourceError):
    """There is nothing to load where the source should be: it is gone, or holds nothing."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to load, its image not read yet.

    `position` counts from 0 in the source; `place` says to people where it stands. Without an `id`
    it gets a hash of its content, or, where `origin` names the list that it is a row of, of all that
    the row holds. `size` is about how many bytes it takes to send. Vectors are [dimension].

    `problem` says why it cannot be loaded; `repeated`, that it is equal to an item before it.
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
    origin: str = ""
    problem: str = ""
    repeated: bool = False

    @property
    def is_encoded(self) -> bool:
        """True if the encoder has work with it."""
        return self.image_vector is None and self.text_vector is None


class Source(Protocol):
    """Items to load: a folder of images, a list, or ready-made vectors."""

    def prepare(self) -> int:
        """Reads through the source and returns how many items it has. Raises SourceError."""

    def items(self) -> Iterator[Item]:
        """All items, in an order that stays the same as long as the source does."""

    @property
    def dimension(self) -> int | None:
        """Of ready vectors; None where the encoder makes them."""

    def identity(self) -> dict[str, str] | None:
        """What makes it this source and no other; None where a checkpoint makes no sense."""


def absolute(path: Path | str) -> Path:
    """The path from the root, without `..`: a folder has one name, from wherever it is given."""
    plain = os.path.abspath(path)  # noqa: PTH100 - links are not followed: a path stays as it was given
    return Path("/" + plain.lstrip("/"))


def digest_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with open_regular(path) as file:
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
