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
from tests.bench.encoder.plan import Memory, OpenLoop, closed_loops, middle
from tests.bench.encoder.rig import EncoderRig, Row
from tests.bench.encoder.run import BOUNDS, MEANING, Run
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


def test_every_figure_has_a_meaning_and_every_bound_a_figure(run: Run) -> None:
    assert set(run.figures()) == set(MEANING)
    assert set(BOUNDS) <= set(MEANING)


def test_the_overload_figure_is_that_of_the_worse_tower(run: Run) -> None:
    assert run.figures()["overload_goodput_ratio"] == pytest.approx(0.8)


def test_a_bound_is_met_or_missed_on_a_quiet_machine(run: Run) -> None:
    assert run.met("image_vs_torch") is True
    assert run.met("overload_goodput_ratio") is False


def test_nothing_is_judged_on_a_disturbed_machine(run: Run) -> None:
    disturbed = dataclasses.replace(run, other_cores=0.8)
    assert disturbed.met("image_vs_torch") is None
    assert disturbed.document()["disturbed"] is True


def test_a_baseline_counts_at_the_batch_size_that_suits_it() -> None:
    baseline = Baseline(WAYS[0], {1: [10.0, 30.0, 11.0], 8: [14.0, 15.0, 16.0], 16: [13.0, 14.0, 99.0]})
    assert (baseline.batch, baseline.per_s) == (8, 15.0)


def test_what_the_rounds_measured_is_not_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(self: EncoderRig, name: str, kind: Kind, *_: object, **__: object) -> Row:
        loaded.append(name)
        return row(name, kind, 7.0)

    loaded: list[str] = []
    monkeypatch.setattr(EncoderRig, "load", load)
    measured = [row("int8", "text", rate) for rate in (300.0, 100.0, 200.0)]
    rig = EncoderRig(Path(), Path(), Console())
    rows = closed_loops(rig, ["int8"], measured)
    assert middle(measured) in rows
    assert len(rows) == 8
    assert len(loaded) == 7


def test_the_run_is_written_and_shown(run: Run, tmp_path: Path) -> None:
    console = Console(width=130)
    report.write(run, tmp_path)
    with console.capture() as captured:
        report.show(run, tmp_path, console)
    document = json.loads((tmp_path / "encoder.json").read_text())
    assert document["image_vs_torch"] == 5
    assert document["bounds"]["image_vs_torch"] == {"bound": ">= 4", "met": True}
    assert document["closed_loop"][0]["summary"]["ok_per_s"] == 60
    assert (tmp_path / "encoder-image.png").stat().st_size > 10_000
    assert (tmp_path / "encoder-text.png").stat().st_size > 10_000
    assert "missed" in captured.get()
    assert "int8 image, 16 clients" in captured.get()
