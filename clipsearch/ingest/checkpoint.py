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
        self._ranges = sorted((start, stop) for start, stop in ranges)
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
        i = bisect_right(self._ranges, (position, float("inf"))) - 1
        return i >= 0 and position < self._ranges[i][1]

    def __len__(self) -> int:
        return sum(stop - start for start, stop in self._ranges)

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """First position and the one after the last, in order; they neither overlap nor touch."""
        return list(self._ranges)

    def finish(self, start: int, stop: int) -> None:
        """The items from `start` to before `stop` are done."""
        touching = [known for known in self._ranges if known[0] <= stop and known[1] >= start]
        for known in touching:
            self._ranges.remove(known)
            start, stop = min(start, known[0]), max(stop, known[1])
        insort(self._ranges, (start, stop))
        self._changes += 1

    async def save(self) -> None:
        """Returns once the file tells all that is finished by now. Raises OSError.

        Callers that come while it is written share the next write.
        """
        wanted = self._changes
        async with self._saving:
            if self._saved < wanted:
                writing, text = self._changes, self._text()
                await asyncio.to_thread(write_whole, self._path, text.encode(), to_disk=True)
                self._saved = writing

    def _text(self) -> str:
        return json.dumps({**self._belongs_to, "finished": self._ranges}, indent=1) + "\n"


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
    for field in ("collection", "fingerprint"):
        if stored.get(field) != belongs_to[field]:
            raise CheckpointError(
                f"{path} is the checkpoint of another collection: its {field} is {stored.get(field)!r}, "
                f"not {belongs_to[field]!r}"
            )
    if stored.get("source") != belongs_to["source"]:
        raise CheckpointError(
            f"{path} is the checkpoint of another source: {_difference(stored, belongs_to)}"
        )
    return ranges


def _difference(stored: Mapping[str, Any], belongs_to: Mapping[str, Any]) -> str:
    there, here = stored.get("source"), belongs_to["source"]
    there = there if isinstance(there, dict) else {}
    key = next(key for key in (*here, *there) if here.get(key) != there.get(key))
    return f"its {key} is {there.get(key)!r}, not {here.get(key)!r}"
