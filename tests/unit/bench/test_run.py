"""The figures of a run follow from its measurements, and are judged only where they can be."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from rich.console import Console

from encoder_service.bundle import Tower
from tests.bench.encoder import report
from tests.bench.encoder.calls import Kind
from tests.bench.encoder.comparison import WAYS, Baseline, Comparison, Way
from tests.bench.encoder.plan import Memory, OpenLoop
from tests.bench.encoder.rig import Row
from tests.bench.encoder.run import Run
from tests.bench.summary import Summary


def row(service: str, kind: Kind, per_s: float, p50_ms: float = 5.0, clients: int | None = 16) -> Row:
    summary = Summary(3.0, 100, per_s, per_s, per_s, p50_ms, p50_ms, p50_ms, {}, {"infer": p50_ms})
    return Row(service, kind, clients, None if clients else per_s, summary, 1.5, 0.2, 0.0)


def loop(tower: Tower, best: float, overload: float) -> OpenLoop:
    rows = [row("int8", tower, best, clients=None)]
    return OpenLoop(tower, 500, 1.0, rows, best, rows, rows, best, overload)


@pytest.fixture
def run() -> Run:
    rates = {
        Way("torch", "image", "fp32"): 12.0,
        Way("session", "image", "int8"): 66.0,
        Way("session from JPEG", "image", "int8"): 64.0,
        Way("torch", "text", "fp32", "max_length"): 20.0,
        Way("torch", "text", "fp32", "longest"): 100.0,
    }
    baselines = [Baseline(way, {1: [1.0], 8: [rates.get(way, 30.0)]}) for way in WAYS]
    closed = [
        row("int8", "image", 60.0),
        row("fp32", "image", 24.0),
        row("int8", "text", 500.0),
        row("int8", "text", 150.0, p50_ms=6.5, clients=1),
    ]
    return Run(
        machine={"cores": 2, "cpu": "test"},
        seconds_to_serving=[1.8, 1.7, 2.6],
        comparison=Comparison(baselines, []),
        closed=closed,
        named=[],
        open=[loop("image", 60.0, 57.0), loop("text", 500.0, 400.0)],
        memory=Memory(10_000, [500.0, 520.0, 510.0], {"int8": 530.0}),
    )


def test_nothing_is_judged_on_a_disturbed_machine(run: Run) -> None:
    disturbed = dataclasses.replace(run, other_cores=0.8)
    assert disturbed.met("image_vs_torch") is None
    assert disturbed.document()["disturbed"] is True


def test_a_baseline_counts_at_the_batch_size_that_suits_it() -> None:
    baseline = Baseline(WAYS[0], {1: [10.0, 30.0, 11.0], 8: [14.0, 15.0, 16.0], 16: [13.0, 14.0, 99.0]})
    assert (baseline.batch, baseline.per_s) == (8, 15.0)


def test_the_run_is_written_and_shown(run: Run, tmp_path: Path) -> None:
    console = Console(width=130)
    report.write(run, tmp_path)
    with console.capture() as captured:
        report.show(run, tmp_path, console)
    document = json.loads((tmp_path / "encoder.json").read_text())
    assert set(document["meaning"]) == set(run.figures())
    assert document["image_vs_torch"] == 5
    assert document["bounds"]["image_vs_torch"] == {"bound": ">= 4", "met": True}
    assert document["closed_loop"][0]["summary"]["ok_per_s"] == 60
    assert (tmp_path / "encoder-image.png").stat().st_size > 10_000
    assert (tmp_path / "encoder-text.png").stat().st_size > 10_000
    assert "missed" in captured.get()
    assert "int8 image, 16 clients" in captured.get()
