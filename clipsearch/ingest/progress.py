"""What a run tells while it goes on and when it ends."""

from __future__ import annotations

import time
from collections import Counter
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

    total: int
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


@dataclass(frozen=True, slots=True)
class IngestReport(Progress):
    """What came of a run.

    `failures` are the first 1,000. `interrupted`: it ended before the last item. `replaced`: points
    removed because other content stands in their place. `gone`: points of this source that it no
    longer has; `pruned` of them were removed (`Ingest.prune`). `uncertain`: items that failed without
    it being known which points they are, so that some of `gone` may be theirs. `shared`: points that
    another list has too, and this one, it seems, no more; `Ingest.prune` leaves them to the other.
    """

    failures: tuple[Failure, ...] = ()
    interrupted: bool = False
    replaced: int = 0
    gone: int = 0
    uncertain: int = 0
    pruned: int = 0
    shared: int = 0


class Tally:
    """Counts of a run under way, by their names in Progress and IngestReport.

    `on_failure` is told of every failure.
    """

    def __init__(self, on_failure: Callable[[Failure], None]) -> None:
        self.counts = Counter[str](total=0, indexed=0, already=0, failed=0, updated=0, merged=0)
        self._on_failure = on_failure
        self._started = time.monotonic()
        self._failures: list[Failure] = []

    def failure(self, failure: Failure) -> None:
        """An item failed."""
        self.counts["failed"] += 1
        if len(self._failures) < KEPT_FAILURES:
            self._failures.append(failure)
        self._on_failure(failure)

    def progress(self) -> Progress:
        """How far the run is now, before its leftovers are counted."""
        return Progress(**self.counts, elapsed_s=time.monotonic() - self._started)

    def report(self, interrupted: bool) -> IngestReport:
        """What came of it."""
        return IngestReport(
            **self.counts,
            failures=tuple(self._failures),
            interrupted=interrupted,
            elapsed_s=time.monotonic() - self._started,
        )
