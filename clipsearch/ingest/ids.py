"""Ids that a list gives: what may be one, and that none stands there twice."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from clipsearch.ingest.source import SourceError


def id_text(value: Any, where: str) -> str:
    """A string or whole number as an id. Raises SourceError for anything else."""
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise SourceError(f"{where}: {value!r} is no id; it must be a string or a whole number")


class UniqueIds:
    """Finds ids that repeat, in 8 bytes an id: hashes first, and the ids themselves only if two agree.

    Two rows of one id would overwrite each other in the order of their luck.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._hashes = array("q")

    def __len__(self) -> int:
        return len(self._hashes)

    def add(self, id: str, place: str) -> None:
        """One more."""
        self._hashes.append(hash(id))

    def check(self, again: Callable[[], Iterable[tuple[str, str]]]) -> None:
        """Raises SourceError for an id that repeats. `again` gives all ids and places once more."""
        hashes = np.sort(np.frombuffer(self._hashes, dtype=np.int64))
        doubtful = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
        if not doubtful:
            return
        met: dict[str, str] = {}
        for id, place in again():
            if hash(id) not in doubtful:
                continue
            if id in met:
                raise SourceError(f"{self._file}: id {id!r} stands in {met[id]} and in {place}")
            met[id] = place
