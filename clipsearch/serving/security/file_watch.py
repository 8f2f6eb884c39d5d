"""Noticing that files have changed on disk, for what is reloaded without a restart."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

POLL_S = 1.0
"""How often files are looked at."""


class Watched:
    """Files as they were at the last look."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = list(paths)
        self._stamps = self._look()

    def changed(self) -> bool:
        """Whether one was rewritten, replaced (also behind a link, as Kubernetes does) or removed since."""
        before, self._stamps = self._stamps, self._look()
        return self._stamps != before

    def _look(self) -> list[tuple[int, int, int, int] | None]:
        stamps: list[tuple[int, int, int, int] | None] = []
        for path in self._paths:
            try:
                status = path.stat()
                stamps.append((status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino))
            except OSError:
                stamps.append(None)
        return stamps
