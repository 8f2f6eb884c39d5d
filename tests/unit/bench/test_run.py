"""The figures of a run follow from its measurements, and are judged only where they can be."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from rich.console import Console

from encoder_service.bundle import Tower
from tests.bench.encoder.calls import Kind
from tests.bench.encoder.comparison import WAYS, Comparison
from tests.bench.encoder.plan import Memory, OpenLoop
from tests.bench.encoder.rig import Row
from tests.bench.encoder.run import Run
from tests.bench.summary import Summary


def row(service: str, kind: Kind, per_s: float, p50_ms: float = 5.0, clients: int | None = 16) -> Row:
    summary = Summary(3.0, 100, per_s, per_s, per_s, p50_ms, p50_ms, p50_ms, {}, {})
    return Row(service, kind, clients, None if clients else per_s, summary)


def loop(tower: Tower, best: float, overload: float) -> OpenLoop:
    best_rows, overload_rows = ([row("int8", tower, rate, clients=None)] for rate in (best, overload))
    return OpenLoop(tower, best_rows, best, best_rows, overload_rows)


@pytest.fixture
def run() -> Run:
    rates = {
        "torch_image": 12.0,
        "session_image": 66.0,
        "session_image_from_jpeg": 64.0,
        "torch_text": 20.0,
        "torch_text_longest": 100.0,
    }
    assert rates.keys() == WAYS.keys()
    rows = [
        *(row("int8", "image", rate) for rate in (90.0, 60.0, 50.0)),
        row("fp32", "image", 24.0),
        row("int8", "text", 500.0),
        row("fp32", "text", 200.0),
        row("int8", "text", 150.0, p50_ms=6.5, clients=1),
    ]
    return Run(
        machine={"cores": 2, "cpu": "test"},
        seconds_to_serving=[1.8, 1.7, 2.6],
        comparison=Comparison({name: {1: [1.0], 8: [rate]} for name, rate in rates.items()}, rows),
        open=[loop("image", 60.0, 57.0), loop("text", 500.0, 400.0)],
        memory=Memory([500.0, 520.0, 510.0], 530.0),
    )


def test_nothing_is_judged_on_a_disturbed_machine(run: Run) -> None:
    disturbed = dataclasses.replace(run, other_cores=0.8)
    assert disturbed.met("image_vs_torch") is None
    assert disturbed.document()["disturbed"] is True


def test_a_baseline_counts_at_the_batch_size_that_suits_it() -> None:
    rounds = {1: [10.0, 30.0, 11.0], 8: [14.0, 15.0, 16.0], 16: [13.0, 14.0, 99.0]}
    assert Comparison({"torch_image": rounds}, []).baseline_per_s("torch_image") == 15.0


def test_the_run_is_written_and_shown(run: Run, tmp_path: Path) -> None:
    console = Console(width=130)
    with console.capture() as captured:
        run.tell(console, tmp_path / "encoder.json")
    document = json.loads((tmp_path / "encoder.json").read_text())
    assert set(document["meaning"]) == set(run.figures())
    assert document["image_vs_torch"] == 5
    assert document["bounds"]["image_vs_torch"] == {"bound": ">= 4", "met": True}
    assert document["comparison"]["rows"][0]["summary"]["ok_per_s"] == 90
    assert "missed" in captured.get()
