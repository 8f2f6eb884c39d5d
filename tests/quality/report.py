"""What the figures must be, and how they are told: build/quality.json and a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from tests.quality.cases import Case
from tests.quality.measure import WAYS, Found, Weighted

# Where query and answer are of one kind, the default may lose this much on the better single target.
LOST_R1 = 0.08
LOST_R10 = 0.02
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Row:
    """One case: what each way of asking found."""

    case: Case
    found: Mapping[str, Found]

    def bounds(self) -> dict[str, tuple[float, float]]:
        """For each figure of the default that has a bound: the figure, and what it must be at least."""
        default = self.found["default"]
        if not self.case.alike:
            return {"R@10": (default.r10, self.found["rrf"].r10)}
        sides = self.found["image"], self.found["text"]
        return {
            "R@1": (default.r1, max(side.r1 for side in sides) - LOST_R1),
            "R@10": (default.r10, max(side.r10 for side in sides) - LOST_R10),
        }

    def broken(self) -> list[str]:
        """The bounds that do not hold, in words."""
        return [
            f"{name} {figure:.3f} < {bound:.3f}"
            for name, (figure, bound) in self.bounds().items()
            if figure < bound - _ROUNDING
        ]


def document(
    about: Mapping[str, Any], rows: Sequence[Row], weights: Mapping[str, Weighted]
) -> dict[str, Any]:
    """What build/quality.json holds."""
    return {
        **about,
        "met": not any(row.broken() for row in rows),
        "cases": {
            row.case.name: {
                **{way: dataclasses.asdict(found) for way, found in row.found.items()},
                "bounds": {name: round(bound, 4) for name, (_, bound) in row.bounds().items()},
                "broken": row.broken(),
            }
            for row in rows
        },
        "weights": {query: dataclasses.asdict(ranks) for query, ranks in weights.items()},
    }


def cases_table(rows: Sequence[Row]) -> Table:
    """Every case, every way of asking, and whether the default keeps its bounds."""
    table = Table(title="R@1 / R@10: share of the queries that found a right point first / among ten")
    table.add_column("stored; asked")
    for way in WAYS:
        table.add_column(way, justify="right")
    table.add_column("the default must have")
    table.add_column("")
    for row in rows:
        bounds = ", ".join(f"{name} >= {bound:.3f}" for name, (_, bound) in row.bounds().items())
        broken = row.broken()
        verdict = f"[red]broken: {'; '.join(broken)}[/]" if broken else "[green]holds[/]"
        table.add_row(row.case.name, *(_cell(row.found[way]) for way in WAYS), bounds, verdict)
    return table


def weights_table(weights: Mapping[str, Weighted], images: int) -> Table:
    """What weights do."""
    table = Table(title=f"median rank among {images} images, pairs A, B of one group")
    table.add_column("query")
    for column in ("A's image", "B's image"):
        table.add_column(column, justify="right")
    for query, ranks in weights.items():
        table.add_row(query, f"{ranks.a:.0f}", f"{ranks.b:.0f}")
    return table


def markdown(rows: Sequence[Row]) -> str:
    """The cases as the table of docs/quality.md."""
    lines = [f"| Stored; asked | {' | '.join(WAYS)} |", "|---|" + "---|" * len(WAYS)]
    lines += [f"| {row.case.name} | {' | '.join(_cell(row.found[way]) for way in WAYS)} |" for row in rows]
    return "\n".join(lines)


def _cell(found: Found) -> str:
    return f"{found.r1:.3f} / {found.r10:.3f}"
