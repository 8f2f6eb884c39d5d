"""Writes a run down (encoder.json, charts) and prints its tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.encoder.plan import OpenLoop
from tests.bench.encoder.rig import Row
from tests.bench.encoder.run import BOUNDS, Run
from tests.bench.tables import figures_table, number, numbers, warn_of_others

NAMES = {"image": "pictures (640x480 JPEG)", "text": "queries (3-12 words)"}


def write(run: Run, folder: Path) -> None:
    """Writes encoder.json and a chart for each tower into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(run.document(), indent=2) + "\n"
    (folder / "encoder.json").write_text(text, encoding="utf-8")
    for loop in run.open:
        _chart(loop, run, folder / f"encoder-{loop.tower}.png")


def show(run: Run, folder: Path, console: Console) -> None:
    """Prints every table of the run."""
    console.print(_baselines(run))
    console.print(_loads("closed loop, one item a call", run.closed))
    console.print(_loads("large pictures (4000x3000 JPEG), and 100 queries again and again", run.named))
    for loop in run.open:
        rows = [*loop.steps, *loop.best, *loop.overload]
        title = f"open loop, int8, {NAMES[loop.tower]}; in time = within {loop.deadline_s:g} s"
        console.print(_loads(title, rows))
    title = "figures (encoder.json says what each means)"
    console.print(figures_table(title, run.figures(), BOUNDS, run.met))
    if run.disturbed:
        warn_of_others(console, run.other_cores)
    console.print(f"written: {folder / 'encoder.json'} and encoder-image.png, encoder-text.png beside it")


def _baselines(run: Run) -> Table:
    table = Table(title="baselines, items a second: median of the rounds at the best batch size")
    for column in ("baseline", "batch", "rate", "rounds by batch size"):
        table.add_column(column, justify="right" if column in ("batch", "rate") else "left")
    for baseline in run.comparison.baselines:
        rounds = [f"{batch}: {numbers(rates)}" for batch, rates in baseline.rounds.items()]
        rate = number(baseline.per_s)
        table.add_row(str(baseline.way), str(baseline.batch), rate, "; ".join(rounds))
    return table


def _loads(title: str, rows: Sequence[Row]) -> Table:
    table = Table(title=title)
    for column in ("load", "in time/s", "p50 p95 p99 ms", "decode queue infer wire ms"):
        table.add_column(column, justify="left" if column == "load" else "right")
    table.add_column("cores: service, client, others", justify="right")
    table.add_column("errors")
    for row in rows:
        summary = row.summary
        load = f"{row.clients} clients" if row.clients else f"{summary.offered_per_s:.0f}/s"
        parts = [summary.parts_ms.get(name) for name in ("preprocess", "queue", "infer", "wire")]
        cores = [row.service_cores, row.client_cores, row.other_cores]
        table.add_row(
            f"{row.service} {row.kind}, {load}",
            number(summary.in_time_per_s),
            numbers([summary.p50_ms, summary.p95_ms, summary.p99_ms]),
            numbers(parts),
            numbers(cores, 2),
            ", ".join(f"{count} {name}" for name, count in summary.errors.items()),
        )
    return table


def _chart(loop: OpenLoop, run: Run, path: Path) -> None:
    """Latency against offered load, and below it what was answered in time."""
    from matplotlib.figure import Figure

    rows = sorted([*loop.steps, *loop.overload], key=lambda row: row.summary.offered_per_s)
    offered = [row.summary.offered_per_s for row in rows]
    figure = Figure(figsize=(8, 7), layout="constrained")
    latency, goodput = figure.subplots(2, 1, sharex=True)
    for name in ("p50_ms", "p95_ms", "p99_ms"):
        values = [getattr(row.summary, name) for row in rows]
        latency.plot(offered, [float("nan") if v is None else v for v in values], "o-", label=name[:3])
    latency.axhline(loop.p99_bound_ms, color="grey", linestyle=":", label="bound of p99")
    latency.set(yscale="log", ylabel="latency, ms")
    goodput.plot(offered, [row.summary.in_time_per_s for row in rows], "o-", label="answered in time")
    goodput.plot(offered, offered, color="grey", linestyle=":", label="offered")
    goodput.set(xlabel=f"offered, {NAMES[loop.tower]} a second", ylabel="a second", ylim=(0, None))
    for axes in (latency, goodput):
        if loop.knee_per_s is not None:
            axes.axvline(loop.knee_per_s, color="tab:red", linestyle="--", label="knee")
        axes.grid(alpha=0.3)
        axes.legend()
    machine = f"{run.machine['cores']} cores of {run.machine['cpu']}"
    figure.suptitle(f"CLIP ViT-B/32 (random weights), int8, ONNX Runtime; {machine}")
    figure.savefig(path, dpi=120)
