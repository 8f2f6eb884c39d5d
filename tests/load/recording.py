"""What the load recorded, as it travels: from Locust's workers to its master, and to the report in a file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.load import Call
from tests.bench.summary import Summary, summarise_open

# A row: scenario, when the call was due (Unix seconds), latency in ms from then, outcome, parts in ms.
Row = tuple[str, float, float, str, dict[str, float]]


@dataclass(slots=True)
class Step:
    """One offered rate. Times in Unix seconds; `start` and `end` bound what is counted."""

    scenario: str
    rate: int
    purpose: str
    start: float
    end: float = 0.0
    cpu: dict[str, float] = field(default_factory=dict)  # CPU seconds between start and end
    split: dict[str, dict[str, float]] = field(default_factory=dict)  # by tower, see scrape.split_ms


@dataclass(frozen=True, slots=True)
class Recording:
    """All calls and all steps of a run, and what each scenario bore in a closed loop before."""

    steps: list[Step]
    rows: list[Row]
    capacity: dict[str, float]

    def write(self, path: Path) -> None:
        """As JSON, whole or not at all."""
        part = path.with_suffix(".part")
        part.write_text(json.dumps({**asdict(self), "rows": self.rows}), encoding="utf-8")
        part.replace(path)

    @staticmethod
    def load(path: Path) -> Recording:
        """Reads what `write` wrote."""
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        steps = [Step(**step) for step in document["steps"]]
        rows: list[Row] = [(row[0], row[1], row[2], row[3], row[4]) for row in document["rows"]]
        return Recording(steps, rows, document["capacity"])

    def summary(self, step: Step, deadline_s: float) -> Summary:
        """What became of the calls that were due within the step."""
        return summarise(self.rows, step, deadline_s)


def summarise(rows: Iterable[Row], step: Step, deadline_s: float) -> Summary:
    """The same of any rows."""
    calls = [
        Call(due - step.start, latency_ms, outcome, parts)
        for scenario, due, latency_ms, outcome, parts in rows
        if scenario == step.scenario and step.start <= due < step.end
    ]
    return summarise_open(calls, 0.0, step.end - step.start, deadline_s)


def difference(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """What was added between two counts, by name; a process that came or went in between is left out."""
    return {
        name: after[name] - before[name] for name in after if before.get(name, float("inf")) <= after[name]
    }


def count(rows: Sequence[Row], outcomes: Sequence[str]) -> int:
    """How many calls ended in one of the outcomes."""
    return sum(row[3] in outcomes for row in rows)
