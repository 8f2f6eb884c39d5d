"""What a run tells while it goes on and when it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

KEPT_FAILURES = 1000
"""So many failures stand in the report; all of them are counted."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that was not indexed: where it stands in the source, and why."""

    place: str
    reason: str
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is; each item is in one count.

    `indexed`: encoded and written. `already`: there as it is. `failed`: not indexed. `updated`: only
    its payload was written, as for an image that was moved. `merged`: equal to another item, whose
    point it shares.
    """

    total: int | None
    indexed: int
    already: int
    failed: int
    elapsed_s: float
    updated: int = 0
    merged: int = 0

    @property
    def done(self) -> int:
        """Items dealt with."""
        return self.indexed + self.already + self.failed + self.updated + self.merged

    @property
    def rate(self) -> float:
        """Items a second, from the start."""
        return self.done / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def remaining_s(self) -> float | None:
        """Seconds left at this rate; None while nothing is known."""
        if self.total is None or not self.rate:
            return None
        return max(0, self.total - self.done) / self.rate


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What came of a run; counts as in Progress.

    `failures` are the first 1,000. `interrupted`: it ended before the last item. `replaced`: points
    removed because other content stands in their place. `gone`: points of this source that it no
    longer has; `pruned` of them were removed (`Ingest.prune`). `uncertain`: items that failed without
    it being known which points they are, so that some of `gone` may be theirs.
    """

    total: int
    indexed: int
    already: int
    failed: int
    failures: tuple[Failure, ...]
    interrupted: bool
    elapsed_s: float
    updated: int = 0
    merged: int = 0
    replaced: int = 0
    gone: int = 0
    uncertain: int = 0
    pruned: int = 0


class Tally:
    """Counts of a run under way. `on_failure` is told of every failure."""

    def __init__(self, on_failure: Callable[[Failure], None]) -> None:
        self._on_failure = on_failure
        self._started = time.monotonic()
        self._failures: list[Failure] = []
        self.total = 0
        self.indexed = 0
        self.already = 0
        self.failed = 0
        self.updated = 0
        self.merged = 0
        self.replaced = 0
        self.gone = 0
        self.uncertain = 0

    def failure(self, failure: Failure) -> None:
        """An item failed."""
        self.failed += 1
        if len(self._failures) < KEPT_FAILURES:
            self._failures.append(failure)
        self._on_failure(failure)

    def progress(self) -> Progress:
        """How far the run is now."""
        return Progress(
            self.total, self.indexed, self.already, self.failed, self._elapsed(), self.updated, self.merged
        )

    def report(self, interrupted: bool) -> IngestReport:
        """What came of it."""
        return IngestReport(
            total=self.total,
            indexed=self.indexed,
            already=self.already,
            failed=self.failed,
            failures=tuple(self._failures),
            interrupted=interrupted,
            elapsed_s=self._elapsed(),
            updated=self.updated,
            merged=self.merged,
            replaced=self.replaced,
            gone=self.gone,
            uncertain=self.uncertain,
        )

    def _elapsed(self) -> float:
        return time.monotonic() - self._started
