"""Charts as inline SVG: they take their colours from the page, so that both its themes can be read."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 520, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 14, 44
_ROW = 30


@dataclass(frozen=True, slots=True)
class Line:
    """A series of points (x, y); y None = no point. `style` is a class of the page: s1, s2, s3, bound."""

    name: str
    points: Sequence[tuple[float, float | None]]
    style: str
    marks: bool = True


def line_chart(
    title: str, x_name: str, y_name: str, lines: Sequence[Line], *, log: bool = False, at: float | None = None
) -> str:
    """Lines over a number; `at` draws a vertical line, the knee."""
    points = [(x, y) for line in lines for x, y in line.points if y is not None and math.isfinite(y)]
    if not points:
        return "<p>Nothing was measured.</p>"
    x_ticks = ticks(max(x for x, _ in points))
    highest = max(y for _, y in points)
    y_ticks = log_ticks(min(y for _, y in points if y > 0 or not log), highest) if log else ticks(highest)

    def place_x(x: float) -> float:
        return _LEFT + x / x_ticks[-1] * (WIDTH - _LEFT - _RIGHT)

    def place_y(y: float) -> float:
        low, high = y_ticks[0], y_ticks[-1]
        share = math.log(max(y, low) / low) / math.log(high / low) if log else y / high
        return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)

    parts = [_grid(x_ticks, y_ticks, place_x, place_y)]
    if at is not None:
        x = place_x(at)
        parts.append(f'<line class="knee" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/>')
    for line in lines:
        placed = [(place_x(x), place_y(y)) for x, y in line.points if y is not None and math.isfinite(y)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(f'<polyline class="{line.style}" points="{path}"/>')
        if line.marks:
            parts += [_mark(line.style, x, y) for x, y in placed]
    middle, bottom = (_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 6
    parts.append(f'<text x="{middle}" y="{bottom}" text-anchor="middle">{html.escape(x_name)}</text>')
    turned = f'transform="rotate(-90 14 {HEIGHT / 2 - 12})"'
    parts.append(
        f'<text x="14" y="{HEIGHT / 2 - 12}" text-anchor="middle" {turned}>{html.escape(y_name)}</text>'
    )
    legend = "".join(_key(line.style, line.name) for line in lines)
    legend += _key("knee", "the knee") if at is not None else ""
    return _figure(title, WIDTH, HEIGHT, parts, legend)


def bars(title: str, x_name: str, names: Sequence[str], rows: Sequence[tuple[str, Sequence[float]]]) -> str:
    """Stacked horizontal bars: a row is its label and a number for each name."""
    if not rows:
        return "<p>Nothing was measured.</p>"
    height = _TOP + _ROW * len(rows) + _BOTTOM
    x_ticks = ticks(max(sum(values) for _, values in rows))
    left = 90

    def place(x: float) -> float:
        return left + x / x_ticks[-1] * (WIDTH - left - _RIGHT)

    parts = []
    for tick in x_ticks:
        x, base = place(tick), height - _BOTTOM
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{base}"/>')
        parts.append(f'<text x="{x:.1f}" y="{base + 16}" text-anchor="middle">{_number(tick)}</text>')
    for i, (label, values) in enumerate(rows):
        y, begun = _TOP + i * _ROW + 4, 0.0
        parts.append(f'<text x="{left - 8}" y="{y + 15}" text-anchor="end">{html.escape(label)}</text>')
        for j, (name, value) in enumerate(zip(names, values, strict=True)):
            x, width = place(begun), place(begun + value) - place(begun)
            parts.append(
                f'<rect class="b{j + 1}" x="{x:.1f}" y="{y}" width="{max(0.0, width - 0.8):.1f}" height="21">'
                f"<title>{html.escape(name)}: {value:.1f} ms</title></rect>"
            )
            begun += value
    parts.append(
        f'<text x="{(left + WIDTH) / 2}" y="{height - 6}" text-anchor="middle">{html.escape(x_name)}</text>'
    )
    legend = "".join(_key(f"b{j + 1}", name) for j, name in enumerate(names))
    return _figure(title, WIDTH, height, parts, legend)


def ticks(highest: float) -> list[float]:
    """0 and up, in about five steps of 1, 2 or 5 times a power of ten; the last is not below `highest`."""
    if highest <= 0:
        return [0.0, 1.0]
    rough = highest / 5
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    return [i * step for i in range(math.ceil(highest / step - 1e-9) + 1)]


def log_ticks(lowest: float, highest: float) -> list[float]:
    """Powers of ten around the numbers."""
    low = math.floor(math.log10(lowest))
    high = max(low + 1, math.ceil(math.log10(highest)))
    return [10.0**power for power in range(low, high + 1)]


def _grid(x_ticks: Sequence[float], y_ticks: Sequence[float], place_x: object, place_y: object) -> str:
    parts = []
    for tick in y_ticks:
        y = place_y(tick)  # type: ignore[operator]
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_number(tick)}</text>')
    for tick in x_ticks:
        x = place_x(tick)  # type: ignore[operator]
        parts.append(
            f'<text x="{x:.1f}" y="{HEIGHT - _BOTTOM + 17}" text-anchor="middle">{_number(tick)}</text>'
        )
    return "".join(parts)


def _mark(style: str, x: float, y: float) -> str:
    """A shape of its own for each series: colour alone does not tell them apart."""
    if style == "s2":
        return f'<rect class="m {style}" x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7"/>'
    if style == "s3":
        corners = f"{x:.1f},{y - 4.5:.1f} {x - 4:.1f},{y + 3.5:.1f} {x + 4:.1f},{y + 3.5:.1f}"
        return f'<polygon class="m {style}" points="{corners}"/>'
    return f'<circle class="m {style}" cx="{x:.1f}" cy="{y:.1f}" r="3.8"/>'


def _key(style: str, name: str) -> str:
    if style.startswith("b") and style != "bound":
        sample = f'<rect class="{style}" x="2" y="2" width="18" height="10"/>'
    else:
        mark = _mark(style, 11, 7) if style in ("s1", "s2", "s3") else ""
        sample = f'<line class="{style}" x1="0" x2="22" y1="7" y2="7"/>{mark}'
    svg = f'<svg width="22" height="14" viewBox="0 0 22 14" aria-hidden="true">{sample}</svg>'
    return f"<li>{svg} {html.escape(name)}</li>"


def _figure(title: str, width: int, height: int, parts: Sequence[str], legend: str) -> str:
    return (
        f'<figure><figcaption>{html.escape(title)}</figcaption><svg viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="{html.escape(title, quote=True)}">{"".join(parts)}</svg>'
        f"<ul>{legend}</ul></figure>"
    )


def _number(value: float) -> str:
    return f"{value:,.10g}" if value >= 1 or value == 0 else f"{value:g}"
