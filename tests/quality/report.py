"""What the figures must be, and how they are told: build/quality.json, and the table of docs/quality.md."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.quality.cases import Case
from tests.quality.measure import WAYS, Found

# Where query and answer are of one kind, the default may lose this much on the better single target.
LOST_R1 = 0.08
LOST_R10 = 0.02
ROUNDING = 1e-9


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
            if figure < bound - ROUNDING
        ]


def document(about: Mapping[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
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
    }


def markdown(rows: Sequence[Row]) -> str:
    """R@1 / R@10 of every case and way of asking, as the table of docs/quality.md; then what is broken."""
    lines = [f"| Stored; asked | {' | '.join(WAYS)} |", "|---|" + "---|" * len(WAYS)]
    lines += [f"| {row.case.name} | {' | '.join(_cell(row.found[way]) for way in WAYS)} |" for row in rows]
    lines += [f"{row.case.name}: the default breaks {broken}" for row in rows for broken in row.broken()]
    return "\n".join(lines)


def _cell(found: Found) -> str:
    return f"{found.r1:.3f} / {found.r10:.3f}"
