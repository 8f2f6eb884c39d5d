"""A folder of pictures as a source."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from clipsearch.ingest.source import Item, SourceError, path_text
from clipsearch.inputs import IndexType

PICTURE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

PICTURE_INDEXES: dict[str, IndexType] = {
    "name": "keyword",
    "folder": "keyword",
    "bytes": "integer",
    "modified": "datetime",
}
"""Payload indexes that suit the payload of a folder's pictures."""


class PictureFolder:
    """The pictures in and below a folder, told by suffix. Their ids are hashes of their content.

    Payload: path, name, folder, bytes, modified. Hidden files and folders are left out, and so are
    links to folders, which may lead in circles. A folder that cannot be read counts as empty.
    """

    dimension = None

    def __init__(self, folder: Path | str) -> None:
        self._folder = Path(folder).absolute()
        self._total = 0

    def prepare(self) -> int:
        """How many pictures there are. Raises SourceError for none."""
        self._total = self._total or sum(1 for _ in find_pictures(self._folder))
        if not self._total:
            kinds = ", ".join(sorted(PICTURE_SUFFIXES))
            raise SourceError(f"{self._folder} holds no pictures (told by suffix: {kinds})")
        return self._total

    def items(self) -> Iterator[Item]:
        """Each picture, by path."""
        for position, path in enumerate(find_pictures(self._folder)):
            yield _item(position, path)

    def identity(self) -> None:
        """None: a picture is known by its content, wherever it stands."""


def find_pictures(folder: Path) -> Iterator[Path]:
    """Absolute paths of the picture files in and below a folder, in a stable order."""
    for parent, folders, files in os.walk(folder.absolute()):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in PICTURE_SUFFIXES:
                yield Path(parent, name)


def _item(position: int, path: Path) -> Item:
    try:
        about = path.stat()
    except OSError:  # reading it will say what is wrong
        return Item(position, str(path), path=path)
    modified = datetime.fromtimestamp(about.st_mtime, UTC)
    payload = {
        "path": path_text(path),
        "name": path_text(path.name),
        "folder": path_text(path.parent),
        "bytes": about.st_size,
        "modified": modified.isoformat(timespec="seconds"),
    }
    return Item(position, str(path), path=path, payload=payload, size=about.st_size)
