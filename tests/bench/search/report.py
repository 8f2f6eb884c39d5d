"""Writes a run down (search.json, a chart) and prints its tables, one of them for docs/performance.md."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.search.calls import Kind
from tests.bench.search.corpus import FilterName
from tests.bench.search.rig import Row
from tests.bench.search.run import BOUNDS, MIDDLE, Run
from tests.bench.tables import figures_table, number, numbers, warn_of_others

_LOCAL_NAMES: dict[FilterName | None, str] = {None: "vector", "narrow": "narrow", "broad": "broad"}


def write(run: Run, folder: Path) -> None:
    """Writes search.json and search.png into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(run.document(), indent=2) + "\n"
    (folder / "search.json").write_text(text, encoding="utf-8")
    _chart(run, folder / "search.png")


def show(run: Run, folder: Path, console: Console) -> None:
    """Prints every table of the run."""
    console.print(_searches(run))
    console.print(_local(run))
    console.print(_ingests(run))
    console.print(figures_table("figures (search.json says what each means)", run.figures(), BOUNDS, run.met))
    console.print("For docs/performance.md, if the machine was quiet:\n")
    console.print(markdown(run), markup=False, highlight=False, soft_wrap=True)
    if run.disturbed:
        warn_of_others(console, run.other_cores)
    console.print(f"written: {folder / 'search.json'} and search.png beside it")


def markdown(run: Run) -> str:
    """The comparison at 100,000 points as a Markdown table."""
    figures = run.figures()
    disk = statistics.median(load.per_s for load in run.local_disk)

    def row(what: str, ours: str, theirs: str, ratio: str) -> str:
        return f"| {what} | {ours} | {theirs} | {number(figures[ratio], 0)} |"

    return "\n".join(
        [
            "| 100,000 vectors of 512 numbers | clipsearch, over gRPC | qdrant-client, local mode | ratio |",
            "|---|---|---|---|",
            row(
                "search, p50",
                f"{number(figures['search_p50_ms_100k'])} ms",
                f"{number(run.local_p50(MIDDLE, None), 0)} ms",
                "vs_local_search",
            ),
            row(
                "search with a filter on two fields, p50",
                f"{number(figures['filtered_p50_ms_100k'])} ms",
                f"{number(run.local_p50(MIDDLE, 'narrow'), 0)} ms",
                "vs_local_filtered",
            ),
            row(
                "points written a second, on disk",
                f"{figures['ingest_vectors_per_s']:,.0f}",
                f"{disk:,.0f}",
                "vs_local_ingest_on_disk",
            ),
        ]
    )


def _searches(run: Run) -> Table:
    table = Table(title="searches over gRPC, ten hits with their payload")
    table.add_column("load")
    for column in ("a second", "p50 p95 p99 ms", "encode store wire ms", "recall@10"):
        table.add_column(column, justify="right")
    table.add_column("cores: services, client, others", justify="right")
    table.add_column("errors")
    rows = [row for size in run.sizes for row in ([size.before] if size.before else []) + size.rows]
    for rounds in _by_load([*rows, *run.texts]):
        row = sorted(rounds, key=lambda row: row.summary.p50_ms or 0)[len(rounds) // 2]
        summary = row.summary
        table.add_row(
            f"{row.points:,}, {row.state}: {row.kind}, {row.clients} client{'s' if row.clients > 1 else ''}",
            number(summary.ok_per_s, 0),
            numbers([summary.p50_ms, summary.p95_ms, summary.p99_ms], 2),
            numbers([summary.parts_ms.get(name) for name in ("encode", "store", "wire")], 2),
            number(row.recall, 4),
            numbers([row.service_cores, row.client_cores, row.other_cores], 2),
            ", ".join(f"{count} {name}" for name, count in summary.errors.items()),
        )
    return table


def _by_load(rows: Sequence[Row]) -> list[list[Row]]:
    loads: dict[tuple[int, str, Kind, int], list[Row]] = {}
    for row in rows:
        loads.setdefault((row.points, row.state, row.kind, row.clients), []).append(row)
    return list(loads.values())


def _local(run: Run) -> Table:
    table = Table(title="qdrant-client's local mode, in memory, no network")
    table.add_column("load")
    for column in ("p50 ms", "searches", "recall@10"):
        table.add_column(column, justify="right")
    for size in run.sizes:
        for filter, name in _LOCAL_NAMES.items():
            rows = [row for row in size.local_rows if row.filter == filter]
            if rows:
                searches = sum(len(row.milliseconds) for row in rows)
                recall = statistics.mean(row.recall for row in rows)
                p50 = number(run.local_p50(size.points, filter))
                table.add_row(f"{size.points:,}: {name}", p50, str(searches), number(recall, 4))
    return table


def _ingests(run: Run) -> Table:
    table = Table(title="loading, and building the index in the background")
    for column in ("what", "points a second", "beside it"):
        table.add_column(column, justify="left" if column != "points a second" else "right")
    for size in run.sizes:
        rates = numbers([load.per_s for load in size.ingests], 0)
        beside = ""
        if (indexing := size.indexing) is not None:
            searches = indexing.searches
            beside = (
                f"index in {indexing.seconds:.0f} s; meanwhile {searches.ok_per_s:.0f} searches/s, "
                f"p50 {number(searches.p50_ms)} p99 {number(searches.p99_ms)} ms; {indexing.writes} writes, "
                f"slowest {indexing.slowest_write_ms:.0f} ms; longest stall {indexing.max_stall_ms:.0f} ms"
            )
        table.add_row(f"{size.points:,}, durable, over gRPC", rates, beside)
        if size.local_ingest is not None:
            table.add_row(f"{size.points:,}, local mode in memory", number(size.local_ingest.per_s, 0), "")
    rates = numbers([load.per_s for load in run.local_disk], 0)
    table.add_row(f"{run.local_disk[0].points:,}, local mode on disk", rates, "")
    return table


def _chart(run: Run, path: Path) -> None:
    """Latency against the number of points, and below it what callers felt while the index was built."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 8), layout="constrained")
    growth, during = figure.subplots(2, 1)
    kinds: tuple[tuple[Kind, FilterName | None, str], ...] = (
        ("vector", None, "search"),
        ("narrow", "narrow", "filter, 2.5 % pass"),
        ("broad", "broad", "filter, 50 % pass"),
    )
    for (kind, filter, name), colour in zip(kinds, ("tab:blue", "tab:orange", "tab:green"), strict=True):
        ours = [(size.points, run.p50(size.points, kind)) for size in run.sizes]
        theirs = [(size.points, run.local_p50(size.points, filter)) for size in run.sizes if size.local_rows]
        growth.plot(*zip(*ours, strict=True), "o-", color=colour, label=f"clipsearch, {name}")
        if theirs:
            growth.plot(*zip(*theirs, strict=True), "s:", color=colour, label=f"local mode, {name}")
    growth.set(xscale="log", yscale="log", xlabel="points", ylabel="p50, ms (one client)")
    growth.set_title("clipsearch over gRPC; qdrant-client's local mode without a network", fontsize=10)
    size = run.size(MIDDLE)
    if size is not None and size.indexing is not None:
        seconds, latencies = zip(*size.indexing.timeline, strict=True)
        during.plot(seconds, latencies, ".", markersize=2, color="tab:blue")
        during.axvline(size.indexing.seconds, color="tab:red", linestyle="--", label="index in use")
        during.set(yscale="log", xlabel="seconds since the last point was loaded", ylabel="a search, ms")
        during.set_title(
            f"{size.points:,} points, the index is built in the background: {size.indexing.searches.sent:,} "
            f"searches, {size.indexing.writes} writes",
            fontsize=10,
        )
    for axes in (growth, during):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.suptitle(f"{run.machine['cores']} cores of {run.machine['cpu']}; services and client share them")
    figure.savefig(path, dpi=120)
