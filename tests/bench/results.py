"""What a run comes to: its figures, the bounds that they are held to, a file of them and a table."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from rich.console import Console
from rich.table import Table

from tests.bench.machine import OtherProcesses

# Other processes that keep more cores busy than this make the figures no evidence.
DISTURBED_CORES = 0.15
_VERDICTS = {True: "[green]met[/]", False: "[red]missed[/]", None: "[yellow]not judged[/]"}


@dataclass(frozen=True, slots=True)
class Bound:
    """What a figure must be: at least (or at most) this."""

    side: Literal[">=", "<="]
    value: float

    def __str__(self) -> str:
        return f"{self.side} {self.value:g}"

    def holds(self, figure: float | None) -> bool:
        """Whether there is a figure, on the right side."""
        if figure is None:
            return False
        return figure >= self.value if self.side == ">=" else figure <= self.value


@dataclass(frozen=True, kw_only=True)
class Results:
    """The measurements of a run. `meaning` says what each figure is."""

    bounds: ClassVar[Mapping[str, Bound]] = {}
    meaning: ClassVar[Mapping[str, str]] = {}

    machine: Mapping[str, object]
    other_cores: float = 0.0  # that processes outside the run kept busy; known once its own have ended

    @property
    def disturbed(self) -> bool:
        """Whether other processes took so much that the figures are no evidence.

        Engines lose unequally: torch, whose threads wait for each other by spinning, loses far more to
        a busy neighbour than the service does, which flatters the ratio.
        """
        return self.other_cores > DISTURBED_CORES

    def figures(self) -> dict[str, float | None]:
        """By name; None where there is no such figure."""
        raise NotImplementedError

    def met(self, name: str) -> bool | None:
        """Whether a figure keeps its bound; None if the machine was disturbed."""
        return None if self.disturbed else self.bounds[name].holds(self.figures()[name])

    def document(self) -> dict[str, Any]:
        """What the run's file holds: the figures first, then all that they were made from."""
        return {
            **{name: None if value is None else round(value, 3) for name, value in self.figures().items()},
            "bounds": {
                name: {"bound": str(bound), "met": self.met(name)} for name, bound in self.bounds.items()
            },
            "disturbed": self.disturbed,
            "meaning": self.meaning,
            **dataclasses.asdict(self),
        }

    def tell(self, console: Console, path: Path) -> None:
        """Writes the file and prints every figure, and of those with a bound whether it is kept."""
        path.write_text(json.dumps(self.document(), indent=2) + "\n", encoding="utf-8")
        table = Table(title=f"{path.name} has all of it")
        for column in ("figure", "value", "bound", ""):
            table.add_column(column, justify="right" if column == "value" else "left")
        for name, value in self.figures().items():
            bound = self.bounds.get(name)
            table.add_row(
                name, number(value, 2), str(bound or ""), _VERDICTS[self.met(name)] if bound else ""
            )
        console.print(table)
        if self.disturbed:
            console.print(
                f"[yellow]other processes kept {self.other_cores:.1f} cores busy during the run: "
                "the figures are no evidence; run it again on a quiet machine[/]"
            )
        console.print(f"written: {path}")


def finish(run: Results, others: OtherProcesses, console: Console, path: Path) -> None:
    """Tells of a run whose processes have ended."""
    dataclasses.replace(run, other_cores=others.cores()).tell(console, path)


def number(value: float | None, digits: int = 1) -> str:
    """One figure; `-` where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"
