"""The service against its baselines, in turns: what else the machine does then meets all of them alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from encoder_service.bundle import Tower
from tests.bench.encoder import baselines
from tests.bench.encoder.calls import Closed
from tests.bench.encoder.rig import EncoderRig, Row

ROUNDS = 3
CLIENTS = 16
BATCHES = (1, 8, 16)
BASELINE_S: dict[Tower, float] = {"image": 1.7, "text": 1.0}
SERVICE_S: dict[Tower, float] = {"image": 4.0, "text": 3.0}


@dataclass(frozen=True, slots=True)
class Way:
    """One way of encoding without the service; `rate` measures it in the process of this name."""

    process: str
    tower: Tower
    rate: Callable[[Path, Path, int, float], float]


# The service of int8 images comes right after the bare session: that ratio is the narrowest.
WAYS = {
    "torch_text": Way("torch", "text", partial(baselines.torch_texts, padding="max_length")),
    "torch_text_longest": Way("torch", "text", partial(baselines.torch_texts, padding="longest")),
    "torch_image": Way("torch", "image", baselines.torch_images),
    "session_image_from_jpeg": Way("session", "image", baselines.session_from_jpegs),
    "session_image": Way("session", "image", baselines.session),
}
LOADS: tuple[tuple[str, Tower, int], ...] = (
    ("int8", "image", CLIENTS),
    ("fp32", "image", CLIENTS),
    ("int8", "text", CLIENTS),
    ("fp32", "text", CLIENTS),
    ("int8", "text", 1),
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Baselines in items a second, by name and batch size, and loads on the services: each once a round."""

    baselines: dict[str, dict[int, list[float]]]
    rows: Sequence[Row]

    def baseline_per_s(self, name: str) -> float:
        """At the batch size that suits it best, the median of the rounds."""
        return max(statistics.median(rates) for rates in self.baselines[name].values())

    def service(self, name: str, tower: str, clients: int = CLIENTS) -> Row:
        """The middle round of a load."""
        rows = [row for row in self.rows if (row.service, row.kind, row.clients) == (name, tower, clients)]
        return sorted(rows, key=lambda row: row.summary.ok_per_s)[len(rows) // 2]


def compare(rig: EncoderRig, bundle: Path) -> Comparison:
    """Goes round: every baseline at every batch size, and the services int8 and fp32, which must run."""
    found: dict[str, dict[int, list[float]]] = {name: {batch: [] for batch in BATCHES} for name in WAYS}
    rows: list[Row] = []
    for number in range(ROUNDS):
        rig.say(f"round {number + 1} of {ROUNDS}: baselines and services in turns")
        for name, way in WAYS.items():
            for batch, rates in found[name].items():
                seconds = BASELINE_S[way.tower]
                rates.append(rig.run(way.process, way.rate, bundle, rig.corpus, batch, seconds))
            rates_now = ", ".join(f"{rates[-1]:.1f}/s at {batch}" for batch, rates in found[name].items())
            rig.say(f"{name}, by batch size: {rates_now}")
        for service, tower, clients in LOADS:
            rows.append(rig.load(service, tower, Closed(clients), SERVICE_S[tower]))
    return Comparison(found, rows)
