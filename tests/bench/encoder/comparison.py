"""The service against its baselines, in turns: what else the machine does then meets all of them alike."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from encoder_service.bundle import Precision, Tower
from tests.bench.encoder import baselines
from tests.bench.encoder.baselines import Padding
from tests.bench.encoder.calls import Closed
from tests.bench.encoder.rig import EncoderRig, Row

ROUNDS = 3
CLIENTS = 16
BATCHES = (1, 8, 16)
BASELINE_S: dict[Tower, float] = {"image": 1.7, "text": 1.0}
SERVICE_S: dict[Tower, float] = {"image": 4.0, "text": 3.0}


@dataclass(frozen=True, slots=True)
class Way:
    """One way of encoding without the service."""

    engine: Literal["torch", "session", "session from JPEG"]
    tower: Tower
    precision: Precision
    padding: Padding | None = None  # torch texts only

    def __str__(self) -> str:
        padded = {"max_length": ", padded to 77", "longest": ", padded to the longest", None: ""}
        return f"{self.engine} {self.precision}, {self.tower}{padded[self.padding]}"


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a way of encoding does, in items a second: each batch size once a round."""

    way: Way
    rounds: dict[int, list[float]]

    @property
    def batch(self) -> int:
        """The batch size that suits it best, by the median of the rounds."""
        return max(self.rounds, key=lambda batch: statistics.median(self.rounds[batch]))

    @property
    def per_s(self) -> float:
        """The median of the rounds at that batch size."""
        return statistics.median(self.rounds[self.batch])


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
    Way("session from JPEG", "image", "int8"),
    Way("session", "image", "int8"),
    Way("session", "image", "fp32"),
    Way("torch", "text", "fp32", "max_length"),
    Way("torch", "text", "fp32", "longest"),
    Way("session", "text", "int8"),
    Way("session", "text", "fp32"),
)


def compare(rig: EncoderRig, bundle: Path) -> Comparison:
    """Goes round: every baseline at every batch size, and the services int8 and fp32, which must run."""
    found = [Baseline(way, {batch: [] for batch in BATCHES}) for way in WAYS]
    rows: list[Row] = []
    for number in range(ROUNDS):
        rig.say(f"round {number + 1} of {ROUNDS}: baselines and services in turns")
        for baseline in found:
            _again(rig, bundle, baseline)
            if baseline.way.engine == "session":
                # The service right after the bare session of its precision: that ratio is the narrowest.
                way = baseline.way
                rows.append(rig.load(way.precision, way.tower, Closed(CLIENTS), SERVICE_S[way.tower]))
        rows.append(rig.load("int8", "text", Closed(1), 2.0))
    return Comparison(found, rows)


def _again(rig: EncoderRig, bundle: Path, baseline: Baseline) -> None:
    way = baseline.way
    for batch, rates in baseline.rounds.items():
        rates.append(_rate(rig, bundle, way, batch, BASELINE_S[way.tower]))
    rates_now = ", ".join(f"{rates[-1]:.1f}/s at {batch}" for batch, rates in baseline.rounds.items())
    rig.say(f"{way}, by batch size: {rates_now}")


def _rate(rig: EncoderRig, bundle: Path, way: Way, batch: int, seconds: float) -> float:
    if way.engine == "session":
        rate = rig.run(
            "session", baselines.session, bundle, rig.corpus, way.tower, way.precision, batch, seconds
        )
    elif way.engine == "session from JPEG":
        rate = rig.run(
            "session", baselines.session_from_jpegs, bundle, rig.corpus, way.precision, batch, seconds
        )
    elif way.padding is None:
        rate = rig.run("torch", baselines.torch_images, bundle, rig.corpus, batch, seconds)
    else:
        rate = rig.run("torch", baselines.torch_texts, bundle, batch, way.padding, seconds)
    return rate.per_s
