"""The service against its baselines, in turns: what else the machine does then meets all of them alike."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from encoder_service.bundle import Precision, Tower
from tests.bench.encoder import baselines
from tests.bench.encoder.baselines import Padding
from tests.bench.encoder.calls import Closed
from tests.bench.encoder.rig import Rig, Row

ROUNDS = 3
CLIENTS = 16
BATCHES = (1, 8, 16)
SECONDS: dict[Tower, float] = {"image": 4.0, "text": 2.5}


@dataclass(frozen=True, slots=True)
class Way:
    """One way of encoding without the service."""

    engine: str  # torch or session
    tower: Tower
    precision: Precision
    padding: Padding | None = None  # torch texts only

    def __str__(self) -> str:
        padded = {"max_length": ", padded to 77", "longest": ", padded to the longest", None: ""}
        return f"{self.engine} {self.precision}, {self.tower}{padded[self.padding]}"


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a way of encoding does at the batch size that suits it, in items a second."""

    way: Way
    batch: int
    by_batch: dict[int, float]  # the search for the batch
    rounds: list[float]

    @property
    def per_s(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.rounds)


@dataclass(frozen=True, slots=True)
class Comparison:
    """All baselines, and the loads on the services between them: each once a round."""

    baselines: Sequence[Baseline]
    rows: Sequence[Row]

    def per_s(self, way: Way) -> float:
        """The rate of one baseline."""
        return next(baseline.per_s for baseline in self.baselines if baseline.way == way)


WAYS = (
    Way("torch", "image", "fp32"),
    Way("session", "image", "int8"),
    Way("session", "image", "fp32"),
    Way("torch", "text", "fp32", "max_length"),
    Way("torch", "text", "fp32", "longest"),
    Way("session", "text", "int8"),
    Way("session", "text", "fp32"),
)


def compare(rig: Rig, bundle: Path) -> Comparison:
    """Finds each baseline's batch size, then goes round. The services int8 and fp32 must run."""
    found = [_find_batch(rig, bundle, way) for way in WAYS]
    rows: list[Row] = []
    for number in range(ROUNDS):
        rig.say(f"round {number + 1} of {ROUNDS}: baselines and services in turns")
        for baseline in found:
            baseline.rounds.append(_again(rig, bundle, baseline))
            if baseline.way.engine == "session":
                # The service right after the bare session of its precision: that ratio is the narrowest.
                way = baseline.way
                rows.append(rig.load(way.precision, way.tower, Closed(CLIENTS), SECONDS[way.tower]))
        rows.append(rig.load("int8", "text", Closed(1), 2.0))
    return Comparison(found, rows)


def _find_batch(rig: Rig, bundle: Path, way: Way) -> Baseline:
    by_batch = {batch: _rate(rig, bundle, way, batch, 1.2) for batch in BATCHES}
    best = max(BATCHES, key=lambda batch: by_batch[batch])
    rig.say(f"{way}, by batch size: {', '.join(f'{rate:.1f}/s at {b}' for b, rate in by_batch.items())}")
    return Baseline(way, best, by_batch, [])


def _again(rig: Rig, bundle: Path, baseline: Baseline) -> float:
    rate = _rate(rig, bundle, baseline.way, baseline.batch, SECONDS[baseline.way.tower])
    rig.say(f"{baseline.way}, batch {baseline.batch}: {rate:.1f}/s")
    return rate


def _rate(rig: Rig, bundle: Path, way: Way, batch: int, seconds: float) -> float:
    if way.engine == "session":
        rate = rig.run(
            "session", baselines.session, bundle, rig.corpus, way.tower, way.precision, batch, seconds
        )
    elif way.padding is None:
        rate = rig.run("torch", baselines.torch_images, bundle, rig.corpus, batch, seconds)
    else:
        rate = rig.run("torch", baselines.torch_texts, bundle, batch, way.padding, seconds)
    return rate.per_s
