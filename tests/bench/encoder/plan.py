"""The loads of the run besides the comparison, each a measurement of its own."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from encoder_service.bundle import Tower
from tests.bench.encoder.calls import Closed, Open
from tests.bench.encoder.rig import EncoderRig, Row
from tests.bench.summary import knee

ROUNDS = 3
TOWERS: tuple[Tower, Tower] = ("image", "text")

# Of the closed loop's rate. The overload follows, at twice the knee.
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
    steps: list[Row]
    knee_per_s: float | None  # None if the service bore no step
    best: list[Row]  # the step that got most answered in time, repeated
    overload: list[Row]  # twice the knee (or, without one, twice the best rate), repeated in turn with it

    @property
    def goodput_ratio(self) -> float:
        """Answered in time at twice the knee over the best rate; 0 if nothing was, ever."""
        best = _in_time_per_s(self.best)
        return _in_time_per_s(self.overload) / best if best else 0.0


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory of the int8 service over mixed calls, MB."""

    rss_mb: list[float]  # before, and after each block of calls
    peak_mb: float  # over its whole life


def seconds_to_serving(rig: EncoderRig, bundle: Path) -> list[float]:
    """From the start of the process to the answer SERVING, several times."""
    seconds = []
    for _ in range(ROUNDS):
        with rig.new_service("encoder", ENCODER_MODEL=str(bundle)) as service:
            seconds.append(service.seconds_to_serving)
    rig.say(f"starter: serving after {', '.join(f'{s:.2f}' for s in seconds)} s")
    return seconds


def open_loop(rig: EncoderRig, tower: Tower, capacity: float) -> OpenLoop:
    """Fixed rates up to twice the knee; then the best step and the overload in turns."""

    def at(rate: float) -> Row:
        return rig.load("int8", tower, Open(rate), 3.5, warm_s=DEADLINE_S, deadline_s=DEADLINE_S)

    steps = [at(share * capacity) for share in OFFERS]
    found = knee([row.summary for row in steps], P99_BOUND_MS[tower])
    top = max(steps, key=lambda row: row.summary.in_time_per_s)
    assert top.rate is not None
    knee_per_s = found.offered_per_s if found else None
    rig.say(f"int8, {tower}: {f'the knee is at {knee_per_s:.1f}/s' if knee_per_s else 'no step is borne'}")
    best, overload = [], []
    for _ in range(ROUNDS):
        best.append(at(top.rate))
        overload.append(at(OVERLOAD * (knee_per_s or top.summary.in_time_per_s)))
    return OpenLoop(tower, steps, knee_per_s, best, overload)


def memory(rig: EncoderRig) -> Memory:
    """10,000 calls of all kinds on int8, after a first thousand."""
    service = rig.services["int8"]
    rss_mb = []
    for calls in (MEMORY_WARM_CALLS, *[MEMORY_BLOCK_CALLS] * MEMORY_BLOCKS):
        row = rig.load("int8", "mixed", Closed(16, calls), 60.0, warm_s=0.0)
        if row.summary.sent < calls or row.summary.errors:
            raise RuntimeError(f"only {row.summary.sent} of {calls} mixed calls, errors {row.summary.errors}")
        time.sleep(0.5)
        rss_mb.append(service.rss_mb())
    rig.say(f"int8: resident {' -> '.join(f'{value:.0f}' for value in rss_mb)} MB")
    return Memory(rss_mb, service.peak_rss_mb())


def _in_time_per_s(rows: Sequence[Row]) -> float:
    return statistics.median(row.summary.in_time_per_s for row in rows)
