"""The loads of the run, each a measurement of its own, and how long each may take."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from encoder_service.bundle import Tower
from tests.bench.encoder.calls import Closed, Open
from tests.bench.encoder.rig import EncoderRig, Row
from tests.bench.summary import knee
from tests.processes import ServiceProcess

ROUNDS = 3
CLIENTS = (1, 4, 16, 64)
TOWERS: tuple[Tower, Tower] = ("image", "text")

# Of the best closed-loop rate. The overload follows, at twice the knee.
OFFERS = (0.25, 0.5, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5)
OVERLOAD = 2.0
DEADLINE_S = 1.0
P99_BOUND_MS: dict[Tower, float] = {"image": 500.0, "text": 200.0}

MEMORY_WARM_CALLS = 1000
MEMORY_BLOCKS = 5
MEMORY_BLOCK_CALLS = 2000


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """What an open loop showed of one tower."""

    tower: Tower
    p99_bound_ms: float
    deadline_s: float
    steps: list[Row]
    knee_per_s: float | None  # None if the service bore no step
    best: list[Row]  # the step that got most answered in time, repeated
    overload: list[Row]  # twice the knee (or, without one, twice the best rate), repeated in turn with it
    best_per_s: float
    overload_per_s: float

    @property
    def goodput_ratio(self) -> float:
        """Answered in time at twice the knee over the best rate; 0 if nothing was, ever."""
        return self.overload_per_s / self.best_per_s if self.best_per_s else 0.0


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory of the int8 service over mixed calls, MB."""

    calls: int
    rss_mb: list[float]  # before, and after each block of calls
    peak_mb: dict[str, float]  # of each service, over its whole life

    @property
    def growth_mb(self) -> float:
        """From before the first to after the last call."""
        return self.rss_mb[-1] - self.rss_mb[0]


def seconds_to_serving(rig: EncoderRig, bundle: Path) -> list[float]:
    """From the start of the process to the answer SERVING, several times."""
    seconds = []
    for _ in range(ROUNDS):
        with rig.new_service("encoder", ENCODER_MODEL=str(bundle)) as service:
            seconds.append(service.seconds_to_serving)
    rig.say(f"starter: serving after {', '.join(f'{s:.2f}' for s in seconds)} s")
    return seconds


def closed_loops(rig: EncoderRig, services: Sequence[str], measured: Sequence[Row]) -> list[Row]:
    """Every service, tower and number of clients once; where `measured` has it, its middle round."""
    rows = []
    for name in services:
        for tower in TOWERS:
            for clients in CLIENTS:
                known = [
                    row for row in measured if (row.service, row.kind, row.clients) == (name, tower, clients)
                ]
                rows.append(middle(known) if known else _closed(rig, name, tower, clients))
    return rows


def _closed(rig: EncoderRig, name: str, tower: Tower, clients: int) -> Row:
    # 64 clients of the slowest service are answered in waves of 3 s.
    slow = tower == "image" and clients == max(CLIENTS) and name == "fp32"
    return rig.load(name, tower, Closed(clients), 7.0 if slow else 2.5, warm_s=3.0 if slow else 0.7)


def named_loads(rig: EncoderRig) -> list[Row]:
    """Large pictures, and the one load that may hit the cache."""
    large: list[Row] = [rig.load("int8", "large image", Closed(clients), 4.0) for clients in (1, 16)]
    return [*large, rig.load("int8", "repeated text", Closed(16), 2.0)]


def open_loop(rig: EncoderRig, tower: Tower, capacity: float) -> OpenLoop:
    """Fixed rates up to twice the knee; then the best step and the overload in turns."""
    bound = P99_BOUND_MS[tower]

    def at(rate: float) -> Row:
        return rig.load("int8", tower, Open(rate), 3.5, warm_s=DEADLINE_S, deadline_s=DEADLINE_S)

    steps = [at(share * capacity) for share in OFFERS]
    found = knee([row.summary for row in steps], bound)
    top = max(steps, key=lambda row: row.summary.in_time_per_s)
    assert top.rate is not None
    knee_per_s = found.offered_per_s if found else None
    rig.say(f"int8, {tower}: {f'the knee is at {knee_per_s:.1f}/s' if knee_per_s else 'no step is borne'}")
    best, overload = [], []
    for _ in range(ROUNDS):
        best.append(at(top.rate))
        overload.append(at(OVERLOAD * (knee_per_s or top.summary.in_time_per_s)))
    return OpenLoop(
        tower=tower,
        p99_bound_ms=bound,
        deadline_s=DEADLINE_S,
        steps=steps,
        knee_per_s=knee_per_s,
        best=best,
        overload=overload,
        best_per_s=_in_time_per_s(best),
        overload_per_s=_in_time_per_s(overload),
    )


def memory(rig: EncoderRig, services: Mapping[str, ServiceProcess]) -> Memory:
    """10,000 calls of all kinds on int8, after a first thousand; and the peak of every service."""
    _mixed(rig, MEMORY_WARM_CALLS)
    rss_mb = [_settled(services["int8"])]
    for _ in range(MEMORY_BLOCKS):
        _mixed(rig, MEMORY_BLOCK_CALLS)
        rss_mb.append(_settled(services["int8"]))
    rig.say(f"int8: resident {' -> '.join(f'{value:.0f}' for value in rss_mb)} MB")
    peaks = {name: service.peak_rss_mb() for name, service in services.items()}
    return Memory(MEMORY_BLOCKS * MEMORY_BLOCK_CALLS, rss_mb, peaks)


def _mixed(rig: EncoderRig, calls: int) -> None:
    row = rig.load("int8", "mixed", Closed(16, calls), 60.0, warm_s=0.0)
    if row.summary.sent < calls or row.summary.errors:
        raise RuntimeError(f"only {row.summary.sent} of {calls} mixed calls, errors {row.summary.errors}")


def _settled(service: ServiceProcess) -> float:
    time.sleep(0.5)
    return service.rss_mb()


def best_rate(rows: Sequence[Row], tower: Tower) -> float:
    """The most that int8 did in a closed loop, items a second."""
    return max(row.summary.ok_per_s for row in rows if (row.service, row.kind) == ("int8", tower))


def middle(rows: Sequence[Row]) -> Row:
    """The row of the median rate."""
    return sorted(rows, key=lambda row: row.summary.in_time_per_s)[len(rows) // 2]


def _in_time_per_s(rows: Sequence[Row]) -> float:
    return statistics.median(row.summary.in_time_per_s for row in rows)
