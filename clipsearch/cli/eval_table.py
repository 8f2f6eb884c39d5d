"""What `clipsearch eval` tells: a table, JSON, and a page with a chart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from clipsearch.cli.output import plain, size, stderr, stdout, table

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.table import Table

    from clipsearch.eval.measures import Interval
    from clipsearch.eval.run import Row


def rows_table(rows: Sequence[Row]) -> Table:
    """A line a row: measures with their intervals, what is found of the reference's hits, cost."""
    measures = list(rows[0].measures)
    result = table(
        "", "vectors", "search", *(f"{name}>" for name in measures), "same>", "p50 ms>", "memory>", "B/point>"
    )
    for row in rows:
        result.add_row(
            plain(", ".join(filter(None, (row.name, row.precision)))),
            row.collection.quantization,
            row.search,
            *(_figure(row.measures[name]) for name in measures),
            "" if row.same is None else f"{row.same:.3f}",
            f"{row.p50_ms:.1f}",
            "" if row.memory_bytes is None else size(row.memory_bytes),
            f"{row.bytes_a_point:,.0f}",
        )
    return result


def show(rows: Sequence[Row], told: Mapping[str, Any]) -> None:
    """The table to stdout; what it means, and what is below the bounds, to stderr."""
    stdout().print(rows_table(rows))
    notes = [f"{rows[0].queries:,} queries from {told['queries']}; in brackets 95 % intervals (bootstrap)"]
    compared = [row for row in rows if not row.exact and row.collection.indexed_share == 0]
    if compared:
        notes.append(
            f"{compared[0].collection.points:,} points have no index yet: searches are exact, and neither a "
            "beam nor a compression changes what they find"
        )
    for note in notes:
        stderr().print(f"[dim]{plain(note)}[/dim]")
    for missed in told["below"]:
        stderr().print(f"[red]below what was asked: {plain(missed)}[/red]")


@contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on stderr while queries are asked: what tells it of the row, queries done, and queries in all."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    bar = Progress(*columns, console=stderr(), transient=True)
    task = bar.add_task("", total=None)

    def update(row: str, done: int, total: int) -> None:
        bar.start()  # between rows the terminal is others'
        bar.update(task, description=plain(row), completed=done, total=total)
        if done == total:
            bar.stop()

    try:
        yield update
    finally:
        bar.stop()


def _figure(one: Interval) -> str:
    return f"{one.mean:.3f} ({one.low:.2f}-{one.high:.2f})"
