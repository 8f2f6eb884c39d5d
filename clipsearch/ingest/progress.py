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
    """How far a run is.

    `already` counts items that are in the collection as they are, from before or from an equal one.
    """

    total: int | None
    indexed: int
    already: int
    failed: int
    elapsed_s: float

    @property
    def done(self) -> int:
        """Items dealt with."""
        return self.indexed + self.already + self.failed

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

    `failures` are the first 1,000. `interrupted`: it ended before the last item.
    """

    total: int
    indexed: int
    already: int
    failed: int
    failures: tuple[Failure, ...]
    interrupted: bool
    elapsed_s: float


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

    def failure(self, failure: Failure) -> None:
        """An item failed."""
        self.failed += 1
        if len(self._failures) < KEPT_FAILURES:
            self._failures.append(failure)
        self._on_failure(failure)

    def progress(self) -> Progress:
        """How far the run is now."""
        return Progress(self.total, self.indexed, self.already, self.failed, self._elapsed())

    def report(self, interrupted: bool) -> IngestReport:
        """What came of it."""
        return IngestReport(
            self.total,
            self.indexed,
            self.already,
            self.failed,
            tuple(self._failures),
            interrupted,
            self._elapsed(),
        )

    def _elapsed(self) -> float:
        return time.monotonic() - self._started
