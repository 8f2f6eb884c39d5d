"""Noticing that files have changed on disk, for what is reloaded without a restart."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

POLL_S = 1.0
"""How often files are looked at."""

Stamp: TypeAlias = tuple[tuple[int, int, int] | None, ...]


def stamp(paths: Iterable[Path]) -> Stamp:
    """Differs whenever a file was rewritten, replaced (also behind a link, as Kubernetes does) or removed."""
    return tuple(_one(path) for path in paths)


def _one(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
