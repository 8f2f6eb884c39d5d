"""An evaluation as a page of one file: a chart, and the table."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from matplotlib.figure import Figure

_HERE = Path(__file__).parent
_COLOUR = "#0072b2"
_ROW_INCHES, _HEAD_INCHES, _PANEL_INCHES, _LABEL_INCHES = 0.34, 0.9, 2.3, 2.6
_LONGEST_LABEL = 48


def write_page(told: Mapping[str, Any], path: Path) -> None:
    """Writes the page of a `document`. Raises OSError."""
    rows: Sequence[Mapping[str, Any]] = told["rows"]
    measures = list(rows[0]["measures"])
    heads = ["", "vectors", "search", *measures, "same", "p50 ms", "memory MB", "bytes a point"]
    target = "both vectors of each point" if told["target"] == "any" else f"the {told['target']} vectors"
    below = "".join(f"<li>{html.escape(missed)}</li>" for missed in told["below"])
    template = Template((_HERE / "page.html").read_text(encoding="utf-8"))
    page = template.substitute(
        title=html.escape(f"Evaluation: {', '.join(dict.fromkeys(row['name'] for row in rows))}"),
        about=html.escape(
            f"{rows[0]['queries']:,} queries from {told['queries']}, compared with "
            f"{target}; {rows[0]['points']:,} points."
        ),
        chart=_chart(rows, measures),
        heads="".join(f"<th>{html.escape(head)}</th>" for head in heads),
        rows="\n".join(_line(row, measures) for row in rows),
        below=f'<p class="below">Below what was asked:</p><ul class="below">{below}</ul>' if below else "",
    )
    path.write_text(page, encoding="utf-8")


def _line(row: Mapping[str, Any], measures: Sequence[str]) -> str:
    name = row["name"] if row["precision"] is None else f"{row['name']}, {row['precision']}"
    figures = (row["measures"][measure] for measure in measures)
    cells = [
        html.escape(name),
        html.escape(row["quantization"]),
        row["search"],
        *(f"{f['mean']:.3f} <small>{f['low']:.3f} to {f['high']:.3f}</small>" for f in figures),
        "" if row["same"] is None else f"{row['same']:.3f}",
        f"{row['p50_ms']:.1f}",
        "" if row["memory_bytes"] is None else f"{row['memory_bytes'] / 1e6:,.0f}",
        f"{row['bytes_a_point']:,.0f}",
    ]
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _chart(rows: Sequence[Mapping[str, Any]], measures: Sequence[str]) -> str:
    """A panel a measure, a row a line: the mean and its interval, as the address of an SVG."""
    size = (_LABEL_INCHES + _PANEL_INCHES * len(measures), _HEAD_INCHES + _ROW_INCHES * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    places = range(len(rows), 0, -1)
    for axes, measure in zip(panels, measures, strict=True):
        figures = [row["measures"][measure] for row in rows]
        means = [one["mean"] for one in figures]
        apart = [
            [one["mean"] - one["low"] for one in figures],
            [one["high"] - one["mean"] for one in figures],
        ]
        axes.errorbar(means, places, xerr=apart, fmt="o", color=_COLOUR, capsize=3, markersize=5)
        axes.set_title(measure, fontsize=10)
        axes.set_xlim(-0.03, 1.03)
        axes.grid(axis="x", alpha=0.3)
        axes.set_yticks(list(places), [_label(row) for row in rows], fontsize=9)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(drawn.getvalue()).decode('ascii')}"


def _label(row: Mapping[str, Any]) -> str:
    parts = [row["name"], row["precision"], row["quantization"], row["search"]]
    label = ", ".join(part for part in parts if part and part != "none").replace("$", r"\$")
    return label if len(label) <= _LONGEST_LABEL else f"…{label[-_LONGEST_LABEL:]}"
