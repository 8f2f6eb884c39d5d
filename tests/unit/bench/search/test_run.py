"""The figures of a search run follow from its measurements, and are judged only where they can be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from tests.bench.search import report
from tests.bench.search.calls import Kind
from tests.bench.search.compressed import Compressed
from tests.bench.search.indexing import Indexing
from tests.bench.search.loading import Ingest
from tests.bench.search.plan import LocalRow, Size
from tests.bench.search.rig import Row
from tests.bench.search.run import Run
from tests.bench.summary import Summary


def summary(per_s: float, p50_ms: float) -> Summary:
    return Summary(3.0, 100, per_s, per_s, per_s, p50_ms, p50_ms, p50_ms, {}, {"encode": 0.0, "store": 1.0})


def row(points: int, kind: Kind, p50_ms: float, clients: int = 1, recall: float = 0.99) -> Row:
    per_s = 1000 * clients / p50_ms
    return Row(points, "indexed", kind, clients, summary(per_s, p50_ms), recall, {1: [2]}, 1.0, 0.3, 0.0)


def size(points: int, search: float, filtered: float) -> Size:
    rounds = [row(points, "vector", search + off, recall=0.99 - off / 100) for off in (-0.5, 0.0, 3.0)]
    rounds += [
        row(points, "narrow", filtered),
        row(points, "broad", 4.0),
        row(points, "both sides", 5.0),
        row(points, "vector", 20.0, 16),
    ]
    indexing = Indexing(points, 30.0, summary(300, 5), [(0.1, 5.0), (2.0, 9.0)], 200, 80.0, 45.0)
    local = [
        LocalRow(points, None, [100.0, 110.0, 500.0], 1.0),
        LocalRow(points, "narrow", [1500.0, 1400.0], 1.0),
    ]
    loads = [Ingest(points, seconds) for seconds in (points / 9000, points / 10000, points / 4000)]
    return Size(points, loads, row(points, "vector", 12.0), indexing, rounds, Ingest(points, 20.0), local)


@pytest.fixture
def run() -> Run:
    texts = [row(100_000, "text", p50, clients) for p50, clients in ((9.0, 1), (8.0, 1), (40.0, 16))]
    return Run(
        machine={"cores": 2, "cpu": "test"},
        corpus={"directions": 400},
        sizes=[size(10_000, 1.0, 2.0), size(100_000, 2.0, 3.0)],
        texts=texts,
        local_disk=[Ingest(4000, 5.0), Ingest(4000, 4.0), Ingest(4000, 8.0)],
        compressed=[
            Compressed("none", 0, [row(20_000, "vector", p50) for p50 in (1.0, 9.0, 2.0)]),
            Compressed("binary", 640, [row(20_000, "vector", 3.0, recall=r) for r in (0.9, 0.92)]),
        ],
    )


def test_compressed_vectors_are_compared_with_whole_ones(run: Run) -> None:
    figures = run.figures()
    assert figures["recall_at_10_20k_binary"] == pytest.approx(0.91)
    assert figures["p50_ms_20k_none"] == 2.0
    assert figures["p50_20k_binary_vs_none"] == pytest.approx(1.5)
    assert figures["recall_at_10_20k_turbo"] is None
    assert run.met("recall_at_10_20k_turbo") is False


def test_the_run_is_written_and_shown(run: Run, tmp_path: Path) -> None:
    console = Console(width=150)
    report.write(run, tmp_path)
    with console.capture() as captured:
        report.show(run, tmp_path, console)
    document = json.loads((tmp_path / "search.json").read_text())
    assert set(document["meaning"]) == set(run.figures())
    assert document["search_p50_ms_1m"] is None, "that size was not run"
    assert document["vs_local_search"] == 55
    assert document["bounds"]["search_p50_ms_100k"] == {"bound": "<= 5", "met": True}
    assert document["sizes"][1]["rows"][0]["summary"]["p50_ms"] == 1.5
    assert "found" not in document["sizes"][1]["rows"][0]
    assert (tmp_path / "search.png").stat().st_size > 10_000
    assert "| search, p50 | 2.0 ms | 110 ms | 55 |" in captured.get()
    assert "longest stall 45 ms" in captured.get()
