"""Writes a run down (summary.json, profile.json, the page) and prints a short table."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.load.outcome import Outcome, Part, dump
from tests.load.page import write_page

_PLAN_BOUND = 0.25


def write(outcome: Outcome, folder: Path) -> None:
    """All files; Locust's own lie there already."""
    (folder / "summary.json").write_text(dump(outcome.summary()), encoding="utf-8")
    (folder / "profile.json").unlink(missing_ok=True)
    if outcome.profile is not None:
        (folder / "profile.json").write_text(dump(outcome.profile.document()), encoding="utf-8")
    write_page(outcome, lines(outcome), folder / "report.html")


def show(outcome: Outcome, folder: Path) -> None:
    """A table a scenario in short, and the figures."""
    console = Console(highlight=False, width=110)
    table = Table(title=f"offered load, calls a second; in time = within {outcome.settings.deadline_s:g} s")
    for column in ("scenario", "offered", "in time", "p50 ms", "p99 ms", "refused or late", ""):
        table.add_column(column, justify="left" if column in ("scenario", "") else "right")
    for part in outcome.parts:
        for step, s in part.steps:
            table.add_row(
                part.scenario.name,
                f"{s.offered_per_s:.0f}",
                f"{s.in_time_per_s:.0f}",
                *("-" if v is None else f"{v:.0f}" for v in (s.p50_ms, s.p99_ms)),
                str(sum(s.errors.values())),
                part.note(step, s),
            )
    console.print(table)
    for line in lines(outcome):
        console.print(line)
    console.print(
        f"report: {(folder / 'report.html').resolve().as_uri()}   figures: {folder / 'summary.json'}"
    )


def lines(outcome: Outcome) -> list[str]:
    """The figures in words."""
    said = [f"{part.scenario.title}: " + _knee(part) + _points(part) for part in outcome.parts]
    recall = outcome.recall
    said.append(
        f"recall@10 {recall.recall_at_10:.3f} over {recall.queries} queries at {recall.p50_ms:.1f} ms "
        f"(exact search: {recall.exact_p50_ms:.1f} ms)"
    )
    said.append(
        f"errors {sum(outcome.errors.values())}, refused {outcome.refused}, late {outcome.late}"
        + (
            ""
            if outcome.other_cores is None
            else f"; other processes kept {outcome.other_cores:.2f} cores busy"
        )
    )
    if outcome.profile is not None and outcome.plan_knee_qps is not None:
        ratio = outcome.plan_knee_qps / outcome.profile.knee_qps
        text = outcome.part("text")
        verdict = f"{'within' if abs(ratio - 1) <= _PLAN_BOUND else 'NOT within'} 25% of the measured one"
        if text is not None and text.open_ended:
            verdict = "but the measured one was not reached, so this proves nothing"
        said.append(
            f"clipsearch plan predicts a knee of {outcome.plan_knee_qps:.0f}/s from the light steps: "
            f"{ratio - 1:+.0%}, {verdict}"
        )
    return said


def _knee(part: Part) -> str:
    if part.knee_qps is None:
        return "no offered rate was borne"
    if part.open_ended:
        return f"the knee is at {part.knee_qps:.0f}/s or above (every rate there was time for was borne)"
    return f"the knee is at {part.knee_qps:.0f}/s"


def _points(part: Part) -> str:
    half, ratio = part.at("half"), part.goodput_ratio
    if half is None or half.p50_ms is None or half.p99_ms is None:
        return ""
    good = "" if ratio is None else f"; at twice it {ratio:.0%} of the best goodput"
    return f"; at half of it p50 {half.p50_ms:.1f} ms, p99 {half.p99_ms:.1f} ms{good}"
