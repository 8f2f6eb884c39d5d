"""The figures of a search run follow from its measurements, and are judged only where they can be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from tests.bench.search.calls import Kind
from tests.bench.search.compressed import KINDS, Compressed
from tests.bench.search.indexing import Indexing
from tests.bench.search.plan import Large, Rounds
from tests.bench.search.rig import Row
from tests.bench.search.run import Run
from tests.bench.summary import Summary


def summary(per_s: float, p50_ms: float) -> Summary:
    return Summary(3.0, 100, per_s, per_s, per_s, p50_ms, p50_ms, p50_ms, {}, {})


def row(kind: Kind, p50_ms: float, clients: int = 1, recall: float = 0.99) -> Row:
    return Row("large", kind, clients, summary(1000 * clients / p50_ms, p50_ms), recall)


def rounds(search: float, filtered: float) -> Rounds:
    vector = [row("vector", search + off, recall=0.99 - off / 100) for off in (-0.5, 0.0, 3.0)]
    return Rounds([row("default", 2 * search)], vector, [row("filtered", filtered)])


def large(search: float, filtered: float) -> Large:
    return Large(
        ingest_per_s=[9000.0, 10_000.0, 4000.0],
        indexing=Indexing(30.0, summary(300, 5), 45.0),
        rounds=rounds(search, filtered),
        local_ms=[100.0, 110.0, 500.0],
        local_filtered_ms=[1500.0, 1400.0],
        text=[row("text", 9.0), row("text", 8.0)],
        texts=[row("text", 40.0, 16)],
    )


@pytest.fixture
def run() -> Run:
    compressed = {kind: [row("vector", 3.0)] for kind in KINDS}
    compressed["none"] = [row("vector", p50) for p50 in (1.0, 9.0, 2.0)]
    compressed["binary"] = [row("vector", 3.0, recall=recall) for recall in (0.9, 0.92)]
    return Run(
        machine={"cores": 2, "cpu": "test"},
        corpus={"directions": 400},
        local_disk=[800.0, 1000.0, 500.0],
        small=rounds(1.0, 2.0),
        large=large(2.0, 3.0),
        compressed=[Compressed(kind, 0, rows) for kind, rows in compressed.items()],
    )


def test_compressed_vectors_are_compared_with_whole_ones(run: Run) -> None:
    figures = run.figures()
    assert figures["recall_at_10_20k_binary"] == pytest.approx(0.91)
    assert figures["p50_ms_20k_none"] == 2.0
    assert figures["p50_20k_binary_vs_none"] == pytest.approx(1.5)
    assert run.met("recall_at_10_20k_binary") is True


def test_the_run_is_written_and_shown(run: Run, tmp_path: Path) -> None:
    console = Console(width=150)
    with console.capture() as captured:
        run.tell(console, tmp_path / "search.json")
    document = json.loads((tmp_path / "search.json").read_text())
    assert set(document["meaning"]) == set(run.figures())
    assert document["vs_local_search"] == 55
    assert document["bounds"]["search_p50_ms_100k"] == {"bound": "<= 5", "met": True}
    assert document["large"]["rounds"]["vector"][0]["summary"]["p50_ms"] == 1.5
    assert "not judged" not in captured.get()
