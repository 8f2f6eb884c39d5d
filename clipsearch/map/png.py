"""The map as an image, for a report or a README: one panel a space."""

from __future__ import annotations

from colorsys import hsv_to_rgb
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from clipsearch.display.text import cut
from clipsearch.map.build import CENTRED, RAW, SpaceMap, View
from clipsearch.map.page import caption, first_way, groups_of
from clipsearch.map.sample import IMAGE, TEXT

_TITLES = {RAW: "the space as it is", CENTRED: "each modality centred"}
# Okabe and Ito's colours, which all eyes can tell apart.
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#b8a800")
_NO_GROUP = "#9a9fa8"
_LABELLED_TEXTS = 40
_LABELLED_CLUSTERS = 25
_IN_LEGEND = 12


def write_image(drawn: SpaceMap, path: Path) -> None:
    """Writes a PNG, coloured as the page is at first. Raises OSError."""
    colour_by = first_way(drawn)
    figure = Figure(figsize=(7 * len(drawn.views), 6.4), dpi=110, layout="constrained")
    for axes, view in zip(np.atleast_1d(figure.subplots(1, len(drawn.views))), drawn.views, strict=True):
        _panel(axes, drawn, view, colour_by)
    count = f"{len(drawn.sample.vectors):,} vectors of {drawn.sample.collection.name}"
    figure.suptitle(f"{count}: ● image, ◆ text; colour: {colour_by}", fontsize=11)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if 0 < len(labels) <= _IN_LEGEND:
        figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)), fontsize=9)
    figure.savefig(path)


def _panel(axes: Any, drawn: SpaceMap, view: View, colour_by: str) -> None:
    groups, codes = groups_of(drawn)[colour_by]
    sample = drawn.sample
    size = 36 if len(codes) < 1000 else 6 if len(codes) < 20_000 else 1.5
    for group in (-1, *range(len(groups))):
        for side, marker in ((IMAGE, "o"), (TEXT, "D")):
            rows = (codes == group) & (sample.side == side)
            if rows.any():
                axes.scatter(
                    *view.positions[rows].T,
                    s=size,
                    marker=marker,
                    linewidths=0,
                    alpha=0.8,
                    color=_colour(group),
                )
        if group >= 0:
            axes.scatter([], [], s=30, color=_colour(group), label=_short(groups[group]))
    texts = np.flatnonzero(sample.side == TEXT)
    if len(texts) <= _LABELLED_TEXTS:
        for row in texts:
            words = _short(caption(sample.items[sample.item[row]]))
            axes.annotate(
                words, view.positions[row], fontsize=8, xytext=(0, 5), textcoords="offset points", ha="center"
            )
    elif colour_by == "cluster":
        for group, name in enumerate(groups[:_LABELLED_CLUSTERS]):
            middle = np.median(view.positions[codes == group], axis=0)
            axes.annotate(_short(name), middle, fontsize=8, ha="center", weight="bold")
    axes.set_title(_TITLES[view.name] if len(drawn.views) > 1 else "", fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.margins(0.08)


def _colour(group: int) -> str | tuple[float, float, float]:
    if group < 0:
        return _NO_GROUP
    return _COLOURS[group] if group < len(_COLOURS) else hsv_to_rgb(group * 137.5 % 360 / 360, 0.6, 0.75)


def _short(text: str) -> str:
    """Without a dollar sign, which matplotlib would take for mathematics."""
    return cut(text, 28).replace("$", r"\$")
