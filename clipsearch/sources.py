"""Where bulk loading takes its points from: pictures in a folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from clipsearch.inputs import IndexType, Point

PICTURE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

PICTURE_INDEXES: dict[str, IndexType] = {
    "name": "keyword",
    "folder": "keyword",
    "bytes": "integer",
    "modified": "datetime",
}
"""Payload indexes that suit the payload of `read_picture`."""


def find_pictures(folder: Path) -> Iterator[Path]:
    """Absolute paths of the picture files in and below a folder, in a stable order.

    Told by suffix. Hidden files and folders are left out, and so are links to folders, which may
    lead in circles. A folder that cannot be read counts as empty.
    """
    for parent, folders, files in os.walk(folder.absolute()):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in PICTURE_SUFFIXES:
                yield Path(parent, name)


def picture_id(content: bytes) -> str:
    """The id of a picture: the first 32 hex digits of its bytes' SHA-256. Equal files are one point."""
    return hashlib.sha256(content).hexdigest()[:32]


def read_picture(path: Path) -> Point:
    """A picture file as a point. Raises OSError."""
    with path.open("rb") as file:
        content = file.read()
        modified = datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)
    return Point(
        id=picture_id(content),
        image=content,
        payload={
            "path": _text(path),
            "name": _text(path.name),
            "folder": _text(path.parent),
            "bytes": len(content),
            "modified": modified.isoformat(timespec="seconds"),
        },
    )


def batches(paths: Iterable[Path], most: int, most_bytes: int) -> Iterator[list[Path]]:
    """Cuts a stream of files into batches of at most `most` files and `most_bytes` bytes.

    A file that is larger on its own is a batch of its own.
    """
    batch, size = list[Path](), 0
    for path in paths:
        length = _size(path)
        if batch and (len(batch) == most or size + length > most_bytes):
            yield batch
            batch, size = [], 0
        batch.append(path)
        size += length
    if batch:
        yield batch


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # reading it will say what is wrong


def _text(path: Path | str) -> str:
    """A path as text: bytes of a file name that are no UTF-8 become replacement characters."""
    return os.fsencode(path).decode("utf-8", errors="replace")
