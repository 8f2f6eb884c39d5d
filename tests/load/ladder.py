"""Which rates to offer: up a ladder around the measured capacity, then half the knee and twice it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tests.bench.summary import Summary, is_borne, knee

Purpose = Literal["ladder", "rest", "half", "double"]

# After so many rates in a row that were too much, a higher one tells nothing new.
_ENOUGH_FAILED = 2
# Beyond the listed shares, while they are borne: the capacity was measured too low.
_FURTHER = 1.25
_MOST_FURTHER = 3
# Where none was borne, the lowest is halved so often.
_MOST_BELOW = 2


@dataclass(frozen=True, slots=True)
class Rung:
    """A rate, calls a second, and what it is for."""

    rate: int
    purpose: Purpose


def thinned(shares: Sequence[float], rungs: int) -> tuple[float, ...]:
    """At most so many of the shares, evenly chosen, the first and the last among them."""
    if rungs >= len(shares):
        return tuple(shares)
    if rungs < 2:
        return (shares[0],)
    return tuple(shares[round(i * (len(shares) - 1) / (rungs - 1))] for i in range(rungs))


@dataclass(frozen=True, slots=True)
class Ladder:
    """The climb of one scenario. `shares` of `capacity` (calls a second), ascending."""

    capacity: float
    shares: tuple[float, ...]
    p99_bound_ms: float
    operating_points: bool  # whether half and double follow

    def next(self, done: Sequence[tuple[Rung, Summary]], running: Rung | None, room: int) -> Rung | None:
        """The rung after `running`, given the results of those before it; None = the end.

        `room` is how many more rungs there is time for. The result of a rung is known only while the
        next one runs; where it decides, a rest comes between.
        """
        results = [(rung, step) for rung, step in done if rung.purpose == "ladder"]
        climbed = len(results) + (running is not None and running.purpose == "ladder")
        left = room - (2 if self.operating_points else 0)
        if running is None or running.purpose == "ladder":
            rate = self._climb(results, climbed, running) if left > 0 else None
            if rate is not None:
                return Rung(rate, "ladder")
            return Rung(self._rate(self.shares[0]), "rest") if self.operating_points else None
        found = self.knee([step for _, step in results])
        if running.purpose == "rest":
            return Rung(max(1, round(found / 2)), "half")
        return Rung(max(1, round(found * 2)), "double") if running.purpose == "half" else None

    def knee(self, steps: Sequence[Summary]) -> float:
        """The highest rate that was borne; without one, half of the lowest that was offered."""
        found = knee(steps, self.p99_bound_ms)
        if found is not None:
            return found.offered_per_s
        return min((step.offered_per_s for step in steps), default=self.capacity) / 2

    def _climb(
        self, results: Sequence[tuple[Rung, Summary]], climbed: int, running: Rung | None
    ) -> int | None:
        borne = [is_borne(step, self.p99_bound_ms) for _, step in results]
        offered = [rung.rate for rung, _ in results] + ([running.rate] if running else [])
        if offered and min(offered) < self._rate(self.shares[0]):  # on the way down
            return None if any(borne) else self._descend(min(offered))
        if len(borne) >= _ENOUGH_FAILED and not any(borne[-_ENOUGH_FAILED:]):
            return None if any(borne) else self._descend(min(offered))
        if climbed < len(self.shares):
            return self._rate(self.shares[climbed])
        beyond = climbed - len(self.shares) + 1
        # The last one's result is not there yet; the one before it must have been borne.
        if beyond <= _MOST_FURTHER and borne and borne[-1]:
            return self._rate(self.shares[-1] * _FURTHER**beyond)
        return None

    def _descend(self, lowest: int) -> int | None:
        """Half of the lowest rate so far, a few times."""
        return max(1, lowest // 2) if lowest > self._rate(self.shares[0] / 2**_MOST_BELOW) else None

    def _rate(self, share: float) -> int:
        return max(1, round(share * self.capacity))
