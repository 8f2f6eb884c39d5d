"""The tables that both benchmarks print."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rich.console import Console
from rich.table import Table

from tests.bench.bounds import Bound

_VERDICTS = {True: "[green]met[/]", False: "[red]missed[/]", None: "[yellow]not judged[/]"}


def figures_table(
    title: str,
    figures: Mapping[str, float | None],
    bounds: Mapping[str, Bound],
    met: Callable[[str], bool | None],
) -> Table:
    """Every figure, and of those with a bound whether it is kept."""
    table = Table(title=title)
    for column in ("figure", "value", "bound", ""):
        table.add_column(column, justify="right" if column == "value" else "left")
    for name, value in figures.items():
        bound = bounds.get(name)
        table.add_row(name, number(value, 2), str(bound or ""), _VERDICTS[met(name)] if bound else "")
    return table


def warn_of_others(console: Console, cores: float) -> None:
    """What to tell when the machine was disturbed."""
    console.print(
        f"[yellow]other processes kept {cores:.1f} cores busy during the run: "
        "the figures are no evidence; run it again on a quiet machine[/]"
    )


def numbers(values: Sequence[float | None], digits: int = 1) -> str:
    """Several figures in one cell."""
    return "  ".join(number(value, digits) for value in values)


def number(value: float | None, digits: int = 1) -> str:
    """One figure; `-` where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"
