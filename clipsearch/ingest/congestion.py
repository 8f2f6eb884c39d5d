"""Congestion control: points a call and calls in flight by what comes back."""

from __future__ import annotations

from dataclasses import dataclass

_QUEUED_LOW, _QUEUED_HIGH = 2.0, 4.0
_SHORT_S, _LONG_S = 0.25, 1.0


@dataclass(frozen=True, slots=True)
class FlowLimits:
    """Bounds and starting values."""

    first_points: int = 16
    most_points: int = 256
    first_flights: int = 2
    most_flights: int = 16


class CongestionControl:
    """Additive increase, multiplicative decrease, as TCP does it.

    Calls in flight follow TCP Vegas (Brakmo and Peterson, 1995). Of `w` calls in flight,
    w * (1 - base / now) wait in the service's queue instead of being worked on, where `base` is the
    least time that a point ever took and `now` the time it took this time. Fewer than 2 waiting:
    one more call a round, since throughput still rises with them. More than 4: one fewer, since
    only the wait does. A refusal for lack of room (RESOURCE_EXHAUSTED) halves the calls and the
    points, once a round (Jacobson, 1988), for the others in flight were sent before it.

    Points a call double as long as the service needs less than 0.25 s for one, so that the cost of
    a call is spread; they halve where it needs more than 1 s, so that little is lost with one.
    """

    def __init__(self, limits: FlowLimits = FlowLimits()) -> None:
        self._limits = limits
        self._most_points = limits.most_points
        self.points = min(limits.first_points, limits.most_points)
        """Points that the next call should carry."""
        self._window = float(min(limits.first_flights, limits.most_flights))
        self._base_s = float("inf")
        self._answers_to_wait = 0  # of calls that were sent before the last change of points or refusal

    @property
    def calls(self) -> int:
        """Calls that may be under way."""
        return int(self._window)

    def answered(self, points: int, seconds: float) -> None:
        """A call of so many points was answered."""
        now = seconds / points
        self._base_s = min(self._base_s, now)
        waiting = self._window * (1 - self._base_s / now) if now else 0.0
        if waiting < _QUEUED_LOW:
            self._window = min(self._window + 1 / self._window, self._limits.most_flights)
        elif waiting > _QUEUED_HIGH:
            self._window = max(self._window - 1 / self._window, 1.0)
        if self._settling():
            return
        each = seconds / self._window
        if each < _SHORT_S and points == self.points < self._most_points:
            self._resize(self.points * 2)
        elif each > _LONG_S and self.points > 1:
            self._resize(self.points // 2)

    def refused(self) -> None:
        """A call met a service without room."""
        if self._settling():
            return
        self._window = max(self._window / 2, 1.0)
        self._resize(self.points // 2)

    def too_many(self, points: int) -> None:
        """The service takes fewer points a call than these."""
        self._most_points = max(1, min(self._most_points, points // 2))
        self.points = min(self.points, self._most_points)

    def _resize(self, points: int) -> None:
        self.points = max(1, min(points, self._most_points))
        self._answers_to_wait = self.calls

    def _settling(self) -> bool:
        self._answers_to_wait = max(0, self._answers_to_wait - 1)
        return self._answers_to_wait > 0
