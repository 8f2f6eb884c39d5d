"""Turns the calls of a load into figures, and the steps of an open loop into its knee."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tests.bench.load import Call

KEEPS_UP = 0.95  # share of the offered calls that must be answered in time for a rate to count as borne


@dataclass(frozen=True, slots=True)
class Summary:
    """What a load showed between the end of its warm-up and its own end."""

    seconds: float
    sent: int  # calls of the whole load, warm-up included
    offered_per_s: float
    ok_per_s: float
    in_time_per_s: float  # answered without error within the deadline
    p50_ms: float | None  # of the calls without error; None if there is none
    p95_ms: float | None
    p99_ms: float | None
    errors: dict[str, int]
    parts_ms: dict[str, float]  # mean of each part that the service reports, and the rest as `wire`


def summarise_closed(calls: Sequence[Call], warm_s: float, end_s: float, deadline_s: float) -> Summary:
    """Counts the calls that ended in the window: what the service got done in it."""
    return _summarise(calls, lambda call: call.end_s, warm_s, end_s, deadline_s)


def summarise_open(calls: Sequence[Call], warm_s: float, end_s: float, deadline_s: float) -> Summary:
    """Counts the calls that were due in the window, whenever they ended: what became of the offer."""
    return _summarise(calls, lambda call: call.due_s, warm_s, end_s, deadline_s)


def knee(steps: Iterable[Summary], p99_bound_ms: float) -> Summary | None:
    """The highest offered rate that the service bears.

    It bears a rate if at least 95% of the calls are answered in time and the 99th percentile of
    the latency stays within the bound. None if it bears no step.
    """
    borne = [step for step in steps if is_borne(step, p99_bound_ms)]
    return max(borne, key=lambda step: step.offered_per_s, default=None)


def is_borne(step: Summary, p99_bound_ms: float) -> bool:
    """Whether the service kept up with the rate, as `knee` says."""
    keeps_up = step.in_time_per_s >= KEEPS_UP * step.offered_per_s
    return keeps_up and step.p99_ms is not None and step.p99_ms <= p99_bound_ms


def _summarise(
    calls: Sequence[Call], moment: Callable[[Call], float], warm_s: float, end_s: float, deadline_s: float
) -> Summary:
    seconds = end_s - warm_s
    window = [call for call in calls if warm_s <= moment(call) < end_s]
    ok = [call for call in window if call.outcome == "OK"]
    in_time = sum(call.latency_ms <= deadline_s * 1000 for call in ok)
    p50, p95, p99 = _percentiles([call.latency_ms for call in ok])
    return Summary(
        seconds=seconds,
        sent=len(calls),
        offered_per_s=len(window) / seconds,
        ok_per_s=len(ok) / seconds,
        in_time_per_s=in_time / seconds,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        errors=dict(Counter(call.outcome for call in window if call.outcome != "OK")),
        parts_ms=_mean_parts(ok),
    )


def median(values: Iterable[float | None]) -> float | None:
    """Of those that are known."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def ratio(above: float | None, below: float | None) -> float | None:
    """None where there is no such ratio."""
    return above / below if above is not None and below else None


def _percentiles(latencies: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    if not latencies:
        return None, None, None
    p50, p95, p99 = np.percentile(latencies, [50, 95, 99]).tolist()
    return p50, p95, p99


def _mean_parts(calls: Sequence[Call]) -> dict[str, float]:
    if not calls:
        return {}
    names = calls[0].parts_ms
    means = {name: float(np.mean([call.parts_ms[name] for call in calls])) for name in names}
    total = float(np.mean([call.latency_ms for call in calls]))
    return {**means, "wire": total - sum(means.values())}
