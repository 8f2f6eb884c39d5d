"""Small images kept on disk, bounded in bytes. Several processes may share the folder.

A file is written under another name and renamed, so none is ever seen half-written. Whatever goes
wrong with the disk costs time, never an answer.
"""

from __future__ import annotations

import os
import re
import threading
import time
from contextlib import suppress
from pathlib import Path

from clipsearch.files import write_whole

MAX_BYTES = 256 * 1024 * 1024
_NAME = re.compile(r"\.?[0-9a-f]{64}\.webp(\.[0-9a-f]{8})?")
_STALE_S = 3600.0
_KEPT_SHARE = 0.8


class ImageCache:
    """WebP files by key (64 hexadecimal digits) in `folder`, which is made, for its owner only."""

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        # What was written here since the folder was last measured; at first it has not been.
        self._written = max_bytes

    def get(self, key: str) -> bytes | None:
        """The image; None if there is none that is whole."""
        path = self._path(key)
        try:
            data = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        return data if _is_whole(data) else None

    def put(self, key: str, data: bytes) -> None:
        """Keeps an image, and removes those unused for longest where there are too many."""
        path = self._path(key)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.parent.mkdir(mode=0o700, exist_ok=True)
            write_whole(path, data)
        except OSError:
            return
        with self._lock:
            self._written += len(data)
            if self._written < self._max_bytes / 8:
                return
            self._written = 0
            self._shrink()

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.webp"

    def _shrink(self) -> None:
        """Past the bound the oldest go, down to 80% of it; other processes may do the same meanwhile."""
        files = self._files()
        size = sum(about.st_size for _, about in files)
        if size > self._max_bytes:
            for path, about in sorted(files, key=lambda file: file[1].st_mtime):
                if size <= self._max_bytes * _KEPT_SHARE:
                    return
                with suppress(OSError):
                    path.unlink()
                size -= about.st_size

    def _files(self) -> list[tuple[Path, os.stat_result]]:
        """The images. Those that a process began to write and never finished are removed."""
        files = []
        for path in self._folder.glob("??/*"):
            if not _NAME.fullmatch(path.name):
                continue
            with suppress(OSError):
                about = path.lstat()
                if path.suffix == ".webp":
                    files.append((path, about))
                elif time.time() - about.st_mtime > _STALE_S:
                    path.unlink()
        return files


def _is_whole(data: bytes) -> bool:
    """A file may be empty or short after a power cut: a WebP says its own length."""
    return (
        data[:4] == b"RIFF" and data[8:12] == b"WEBP" and int.from_bytes(data[4:8], "little") + 8 == len(data)
    )


def default_folder() -> Path:
    """Where the XDG specification wants caches."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "clipsearch" / "pictures"
