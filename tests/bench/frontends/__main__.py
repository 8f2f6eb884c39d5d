"""What receiving and decoding cost a picture, and the session process behind them: `make bench-frontends`.

A stand-in for the model that costs nothing, so that all else shows; no front ends, one and two, from
640x480 JPEGs and from raw pixels. Client and service share the machine: on few cores the rates say
little, the CPU time a picture takes in each process says how it will scale. build/bench/frontends.json.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench import bundles
from tests.bench.bundles import OUT, STARTER
from tests.bench.encoder.corpus import make_corpus
from tests.bench.frontends import ceiling
from tests.bench.frontends.load import Kind, pictures_in
from tests.bench.machine import OtherProcesses, describe
from tests.bench.tables import warn_of_others
from tests.processes import ServiceProcess

FRONT_ENDS = (0, 1, 2)
KINDS: tuple[Kind, ...] = ("jpeg", "raw")
CONNECTIONS, CALLS = 16, 2
WARM_S = 1.0
QUIET_CORES = 0.3


@dataclass(frozen=True, slots=True)
class Row:
    """One layout and one kind of picture; CPU milliseconds a picture. Medians of the rounds."""

    front_ends: int
    kind: Kind
    pictures_per_s: float
    front_ends_ms: float  # without front ends: of the one process that does all
    session_ms: float


def main() -> None:
    """Measures, writes the report and prints the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.frontends", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    flags = parser.parse_args()
    if bundles.missing(STARTER):
        bundles.build(STARTER)
    corpus = OUT / "corpus"
    make_corpus(corpus)
    others = OtherProcesses()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as client:
        rounds = [
            [measure(client, count, kind, corpus, flags.seconds) for count in FRONT_ENDS for kind in KINDS]
            for _ in range(flags.rounds)
        ]
    rows = [median(same) for same in zip(*rounds, strict=True)]
    limits = [ceiling.measure(STARTER, flags.seconds) for _ in range(flags.rounds)]
    limit = sorted(limits, key=lambda one: one.session_us)[len(limits) // 2]
    report = {
        **describe(("grpcio", "numpy", "pillow")),
        "other_cores": round(others.cores(), 2),
        "rows": [asdict(row) for row in rows],
        "ceiling": asdict(limit),
    }
    (OUT / "frontends.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    show(rows, limit, Console(), float(report["other_cores"]))


def measure(client: ProcessPoolExecutor, count: int, kind: Kind, corpus: Path, seconds: float) -> Row:
    """One layout under one load."""

    def send(for_s: float) -> int:
        load = (service.address, kind, corpus, CONNECTIONS, CALLS, for_s)
        return client.submit(pictures_in, *load).result(for_s + 60)

    with ServiceProcess(
        "encoder",
        OUT / "logs",
        "tests.bench.frontends.stand_in",
        ENCODER_MODEL=str(STARTER),
        ENCODER_FRONTENDS=str(count),
    ) as service:
        send(WARM_S)
        before, own_before = service.cpu_seconds(), service.own_cpu_seconds()
        pictures = send(seconds)
        own = service.own_cpu_seconds() - own_before
        theirs = service.cpu_seconds() - before - own
    per_picture = 1000 / pictures
    front_ms, session_ms = (theirs, own) if count else (own, 0.0)
    return Row(count, kind, pictures / seconds, front_ms * per_picture, session_ms * per_picture)


def median(rows: tuple[Row, ...]) -> Row:
    """Each figure's median."""
    first = rows[0]
    figures = (
        statistics.median(getattr(row, name) for row in rows)
        for name in ("pictures_per_s", "front_ends_ms", "session_ms")
    )
    return Row(first.front_ends, first.kind, *figures)


def show(rows: list[Row], limit: ceiling.Ceiling, console: Console, other_cores: float) -> None:
    """The table, and what it comes down to."""
    table = Table(title="pictures through a stand-in model; client and service share the cores")
    for column in (
        "front ends",
        "from",
        "pictures/s",
        "CPU ms in front ends",
        "CPU ms in the session process",
    ):
        table.add_column(column, justify="left" if column == "from" else "right")
    for row in rows:
        table.add_row(
            str(row.front_ends),
            {"jpeg": "640x480 JPEG", "raw": "raw pixels"}[row.kind],
            f"{row.pictures_per_s:.0f}",
            f"{row.front_ends_ms:.3f}",
            f"{row.session_ms:.3f}" if row.front_ends else "-",
        )
    console.print(table)
    console.print(
        f"session-process ceiling: {limit.session_us:.0f} us of CPU a picture "
        f"({1e6 / limit.session_us:,.0f} a second on one core); asked by one process that does nothing else: "
        f"{limit.pictures_per_s:,.0f} a second"
    )
    if other_cores > QUIET_CORES:
        warn_of_others(console, other_cores)


if __name__ == "__main__":
    main()
