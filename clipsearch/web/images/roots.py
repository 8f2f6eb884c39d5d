"""Opens the files that points name, if they are regular files under a root, and no others.

Nothing that is opened lies elsewhere: links are followed first, then each folder down from the root
is opened without following any, so that one swapped in between leads nowhere.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# A pipe or a device that takes the file's place must not hold up the thread.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Found:
    """A file by its root and the names below it; no link is among them."""

    root: Path
    names: tuple[str, ...]


class Roots:
    """The folders whose images may be shown, links resolved."""

    def __init__(self, folders: Sequence[Path]) -> None:
        """Raises OSError for a folder that is none."""
        self._roots = tuple(folder.resolve(strict=True) for folder in folders)
        for root in self._roots:
            os.close(os.open(root, _FOLDER))

    def find(self, path: object) -> Found | None:
        """The regular file that a payload's path names; None if there is none under a root."""
        if not isinstance(path, str) or not path:
            return None
        for candidate in self._candidates(path):
            try:
                real = Path(os.path.realpath(candidate, strict=True))
                if not stat.S_ISREG(os.lstat(real).st_mode):
                    continue
            except (OSError, ValueError):  # ValueError: a NUL in the name
                continue
            for root in self._roots:
                if real.is_relative_to(root):
                    return Found(root, real.relative_to(root).parts)
        return None

    def open(self, path: object) -> BinaryIO:
        """The file, open for reading. Raises OSError where it is not under a root, too."""
        found = self.find(path)
        if found is None:
            raise FileNotFoundError
        descriptor = _open_beneath(found)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise FileNotFoundError
        return os.fdopen(descriptor, "rb")

    def _candidates(self, path: str) -> Iterator[Path]:
        """An absolute path as it is; a relative one from here, then from each root."""
        yield Path(path)
        if not Path(path).is_absolute():
            yield from (root / path for root in self._roots)


def _open_beneath(found: Found) -> int:
    folder = os.open(found.root, _FOLDER | os.O_NOFOLLOW)
    try:
        for name in found.names[:-1]:
            inner = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(found.names[-1], _FILE, dir_fd=folder)
    finally:
        os.close(folder)
