"""The page of a run: one HTML file, no script, nothing loaded from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from string import Template

from tests.bench.summary import Summary
from tests.load.charts import Line, bars, line_chart
from tests.load.outcome import Outcome, Part, Result

_TEMPLATE = Path(__file__).with_name("page.html")
_OUTCOMES = {"RESOURCE_EXHAUSTED": "refused", "DEADLINE_EXCEEDED": "late"}
SPLIT = ("encoder: queue", "encoder: decode or tokens", "encoder: infer", "store", "all else")


def write_page(outcome: Outcome, lines: Sequence[str], path: Path) -> None:
    """Writes the page; `lines` are the figures in words."""
    template = Template(_TEMPLATE.read_text(encoding="utf-8"))
    path.write_text(
        template.substitute(
            where=html.escape(_where(outcome)),
            warning=_warning(outcome),
            figures="".join(f"<li>{html.escape(line)}</li>" for line in lines),
            deadline=f"{outcome.settings.deadline_s:g}",
            parts="".join(_part(part, outcome.settings.deadline_s) for part in outcome.parts),
        ),
        encoding="utf-8",
    )


def _part(part: Part, deadline_s: float) -> str:
    climb = part.steps
    offered = [s.offered_per_s for _, s in climb]
    bound = part.scenario.p99_bound_ms
    latency = line_chart(
        f"{part.scenario.title}: latency against offered load",
        "offered, calls a second",
        "ms (log)",
        [
            Line("p50", _points(climb, "p50_ms"), "s1"),
            Line("p95", _points(climb, "p95_ms"), "s2"),
            Line("p99", _points(climb, "p99_ms"), "s3"),
            Line(
                f"bound of p99, {bound:g} ms", [(0, bound), (max(offered, default=1), bound)], "bound", False
            ),
        ],
        log=True,
        at=part.knee_qps,
    )
    goodput = line_chart(
        f"{part.scenario.title}: answered within {deadline_s:g} s",
        "offered, calls a second",
        "calls a second",
        [
            Line("in time", _points(climb, "in_time_per_s"), "s1"),
            Line("offered", [(0, 0), *((x, x) for x in offered)], "bound", False),
        ],
        at=part.knee_qps,
    )
    split = bars(
        f"{part.scenario.title}: where the time goes",
        "mean milliseconds of the calls that were answered",
        SPLIT,
        [
            (f"{s.offered_per_s:.0f}/s", split_ms(part, (step, s)))
            for step, s in climb
            if s.p50_ms is not None
        ],
    )
    return (
        f"<section><h2>{html.escape(part.scenario.title.capitalize())}</h2>"
        f'<div class="charts">{latency}{goodput}{_split(part, split)}{_table(climb, part)}</div></section>'
    )


def _split(part: Part, chart: str) -> str:
    return "" if part.scenario.method == "Upsert" else chart


def split_ms(part: Part, result: Result) -> list[float]:
    """The numbers of SPLIT: the encoder's own clocks, the store's from the answers, and what is left.

    A scenario of several kinds has one bar: its pictures' and texts' times together have no mean here,
    so the tower with the more items speaks for the encoder.
    """
    step, summary = result
    tower = "image" if part.scenario.name == "image" else "text"
    inside = step.split.get(tower, {})
    encode, store = summary.parts_ms.get("encode", 0.0), summary.parts_ms.get("store", 0.0)
    # The clocks of different calls: never let the parts be more than the whole.
    known = [inside.get(name, 0.0) for name in ("queue", "decode", "infer")]
    scale = min(1.0, encode / sum(known)) if sum(known) else 0.0
    queue, decode, infer = (value * scale for value in known)
    total = encode + store + summary.parts_ms.get("wire", 0.0)
    return [queue, decode, infer, store, max(0.0, total - queue - decode - infer - store)]


def _points(results: Sequence[Result], name: str) -> list[tuple[float, float | None]]:
    return [(s.offered_per_s, getattr(s, name)) for _, s in results]


def _table(results: Sequence[Result], part: Part) -> str:
    rows = []
    for step, s in results:
        cells = [f"{s.offered_per_s:.0f}", f"{s.in_time_per_s:.0f}", _ms(s.p50_ms), _ms(s.p99_ms), _errors(s)]
        rows.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}<td>{part.note(step, s)}</td></tr>")
    head = "".join(
        f'<th scope="col">{name}</th>'
        for name in ("offered/s", "in time/s", "p50", "p99", "not answered", "")
    )
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f'<div class="table"><table>{body}</table></div>'


def _errors(summary: Summary) -> str:
    named = ((count, _OUTCOMES.get(name, name)) for name, count in summary.errors.items())
    return html.escape(", ".join(f"{count} {name}" for count, name in named)) or "0"


def _where(outcome: Outcome) -> str:
    machine, model = outcome.machine, outcome.model
    parts = [
        f"{machine['cores']} cores of {machine['cpu']}",
        f"model {model.name}, {model.text_precision}" if model else "",
        f"{outcome.collection.points:,} points",
        str(machine["date"]),
        "" if outcome.other_cores is None else f"other processes kept {outcome.other_cores:.2f} cores busy",
    ]
    return "; ".join(part for part in parts if part)


def _warning(outcome: Outcome) -> str:
    said = []
    if (outcome.other_cores or 0) > 0.15:
        said.append("Other processes were busy: these figures are lower than the machine's own.")
    if outcome.model is not None and not outcome.model.pretrained:
        said.append("The model has random weights: its speed is real, its recall is of made vectors.")
    return "".join(f'<p class="warning">{text}</p>' for text in said)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"
