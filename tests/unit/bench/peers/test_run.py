"""The ratios to a peer are taken fairly: items, not calls, and the peer's faster precision."""

from __future__ import annotations

import pytest

from encoder_service.bundle import Tower
from tests.bench.peers.calls import Pattern
from tests.bench.peers.run import PATTERNS, Row, Run
from tests.bench.summary import Summary


def row(server: str, tower: Tower, pattern: Pattern, *calls_per_s: float) -> Row:
    summaries = [Summary(3, 9, r, r, r, 1e3 / r if r else None, None, None, {}, {}) for r in calls_per_s]
    return Row(server, tower, pattern, summaries)


@pytest.fixture
def run() -> Run:
    speeds = {
        "clipsearch int8": (10, 40, 12),
        "clipsearch fp32": (6, 8, 7),
        "infinity-emb float32": (1, 3, 2),
        "infinity-emb int8": (4, 4, 5),
    }
    towers: tuple[Tower, ...] = ("image", "text")
    rows = [row(s, t, p, *rates) for s, rates in speeds.items() for t in towers for p in PATTERNS]
    return Run(machine={"cores": 2}, peer={"infinity-emb[server]": "0.0.78"}, cosines={}, rows=rows)


def test_each_side_runs_its_faster_precision_and_a_round_that_stands_out_does_not_count(run: Run) -> None:
    figures = run.figures()

    assert figures["images_16_clients_ratio"] == pytest.approx(12 / 4)
    assert figures["images_16_clients_fp32_ratio"] == pytest.approx(7 / 4)
