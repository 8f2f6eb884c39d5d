"""Compares two runs: `python -m tests.load.compare A.json B.json --max-regression 10%`; 1 = B is worse."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

# Whether more of it is better.
FIGURES = {
    "text_search_knee_qps": True,
    "image_knee_qps": True,
    "mixed_knee_qps": True,
    "ingest_knee_qps": True,
    "p50_ms": False,
    "p99_ms": False,
    "goodput_ratio_at_2x": True,
    "recall_at_10": True,
    "errors": False,
}


class NotComparable(Exception):
    """The runs cannot be compared; one line."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure in both runs. `worse` is the share that the second lost; negative where it gained."""

    name: str
    before: float | None
    after: float | None
    worse: float | None

    def regressed(self, bound: float) -> bool:
        """Beyond the bound; also where the second run has no such figure any more."""
        return self.before is not None and (self.worse is None or self.worse > bound)


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """All figures that the first run has. Raises NotComparable where the runs measured different things."""
    for name in ("model", "points", "deadline_s"):
        if before.get(name) != after.get(name):
            raise NotComparable(
                f"{name} is {before.get(name)} in the first and {after.get(name)} in the second"
            )
    return [
        Difference(name, before[name], after.get(name), _worse(before[name], after.get(name), more_is_better))
        for name, more_is_better in FIGURES.items()
        if before.get(name) is not None
    ]


def share(text: str) -> float:
    """`10%` or `0.1`. Raises ValueError."""
    value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    if not 0 <= value < 10:
        raise ValueError(text)
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status: 0, 1 for a regression, 2 for files that cannot be compared."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.compare", description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--max-regression", type=share, default=0.1, help="10%% or 0.1")
    given = parser.parse_args(arguments)
    try:
        runs = [json.loads(path.read_text(encoding="utf-8")) for path in (given.before, given.after)]
        found = compare(*runs)
    except (OSError, ValueError, NotComparable) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    regressed = [difference.name for difference in found if difference.regressed(given.max_regression)]
    console = Console(highlight=False)
    console.print(_table(found, given.max_regression))
    for name, run in (("first", runs[0]), ("second", runs[1])):
        if (run.get("other_cores") or 0) > 0.15:
            console.print(f"in the {name} run other processes kept {run['other_cores']:.2f} cores busy")
    console.print(f"worse by more than {given.max_regression:.0%}: {', '.join(regressed) or 'nothing'}")
    return 1 if regressed else 0


def _worse(before: float, after: float | None, more_is_better: bool) -> float | None:
    if after is None:
        return None
    lost = before - after if more_is_better else after - before
    if before == 0:
        return 0.0 if lost <= 0 else float("inf")
    return lost / before


def _table(found: Sequence[Difference], bound: float) -> Table:
    table = Table()
    for column in ("figure", "first", "second", "change", ""):
        table.add_column(column, justify="left" if column in ("figure", "") else "right")
    for one in found:
        change = "-" if one.before in (None, 0) or one.after is None else f"{one.after / one.before - 1:+.1%}"
        verdict = "[red]worse[/]" if one.regressed(bound) else ""
        table.add_row(one.name, _figure(one.before), _figure(one.after), change, verdict)
    return table


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


if __name__ == "__main__":
    sys.exit(main())
