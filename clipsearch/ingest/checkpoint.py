"""The checkpoint of a run: which of a source's items are in a collection, in a file of a few lines."""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from clipsearch.client.types import Collection
from clipsearch.files import write_whole

_VERSION = 1


class CheckpointError(ValueError):
    """The checkpoint belongs to other work, or cannot be read. Nothing was written."""


class Checkpoint:
    """Ranges of positions that are finished. Each write replaces the file whole.

    As many ranges are kept as there are gaps between them, and only calls in flight leave gaps; so
    the file stays small however long the source is.
    """

    def __init__(
        self, path: Path, belongs_to: Mapping[str, Any], ranges: Iterable[Iterable[int]] = ()
    ) -> None:
        self._path = path
        self._belongs_to = belongs_to
        self.ranges = sorted((start, stop) for start, stop in ranges)
        """First position and the one after the last, in order; they neither overlap nor touch."""
        self._changes = 0
        self._saved = -1
        self._saving = asyncio.Lock()

    @classmethod
    def open(cls, path: Path, source: Mapping[str, str], collection: Collection) -> Checkpoint:
        """Reads the file, or starts a new one. Raises CheckpointError and OSError."""
        belongs_to = {
            "version": _VERSION,
            "collection": collection.name,
            "fingerprint": collection.fingerprint,
            "source": dict(source),
        }
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return cls(path, belongs_to)
        except UnicodeDecodeError:
            raise CheckpointError(f"{path} is no checkpoint; delete it or name another file") from None
        return cls(path, belongs_to, _read(path, text, belongs_to))

    def __contains__(self, position: int) -> bool:
        i = bisect_right(self.ranges, (position, float("inf"))) - 1
        return i >= 0 and position < self.ranges[i][1]

    def finish(self, start: int, stop: int) -> None:
        """The items from `start` to before `stop` are done."""
        touching = [known for known in self.ranges if known[0] <= stop and known[1] >= start]
        for known in touching:
            self.ranges.remove(known)
            start, stop = min(start, known[0]), max(stop, known[1])
        insort(self.ranges, (start, stop))
        self._changes += 1

    async def save(self) -> None:
        """Returns once the file tells all that is finished by now. Raises OSError.

        Callers that come while it is written share the next write.
        """
        wanted = self._changes
        async with self._saving:
            if self._saved < wanted:
                writing = self._changes
                text = json.dumps({**self._belongs_to, "finished": self.ranges}, indent=1) + "\n"
                await asyncio.to_thread(write_whole, self._path, text.encode(), to_disk=True)
                self._saved = writing


def _read(path: Path, text: str, belongs_to: Mapping[str, Any]) -> list[list[int]]:
    try:
        stored = json.loads(text)
        ranges: list[list[int]] = stored.pop("finished")
        well_formed = all(0 <= start < stop for start, stop in ranges)
        version = stored["version"]
    except (ValueError, TypeError, KeyError, AttributeError):
        well_formed, version = False, None
    if not well_formed or version != _VERSION:
        raise CheckpointError(f"{path} is no checkpoint of this version; delete it or name another file")
    names = "collection", "fingerprint"
    here = {name: belongs_to[name] for name in names}
    _compare(path, "collection", {name: stored.get(name) for name in names}, here)
    _compare(path, "source", stored.get("source"), belongs_to["source"])
    return ranges


def _compare(path: Path, what: str, stored: Any, here: Mapping[str, Any]) -> None:
    there = stored if isinstance(stored, dict) else {}
    for key in (*here, *there):
        if there.get(key) != here.get(key):
            raise CheckpointError(
                f"{path} is the checkpoint of another {what}: its {key} is {there.get(key)!r}, "
                f"not {here.get(key)!r}"
            )
