"""Results as HTML tables, for notebooks: no script, every value escaped, readable in light and dark.

Styles stand in the elements, because notebooks that are not trusted drop style sheets. Text has the
notebook's own colour, bars and lines one that is seen on white and on black. Of what payloads name
only plain files of at most 64 MiB are opened, and none for rows that are not shown.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, TypeAlias

from clipsearch.display.text import cut

THUMBNAILS = 24
"""Images that a table shows unless told otherwise: about 150 KB."""

_MOST_ROWS = 100
_MOST_FIELDS = 6
_FIRST_FIELDS = ("title", "name", "text", "caption")

_LEFT = "text-align:left;vertical-align:top;padding:4px 10px 4px 0"
_SHORT = f"{_LEFT};white-space:nowrap"
_LONG = f"{_LEFT};min-width:16em;max-width:28em;overflow-wrap:anywhere;white-space:normal"
_LONG_FROM = 36  # characters: an id that is a hash or a UUID stays on one line


@dataclass(frozen=True, slots=True)
class Score:
    """A score and how much of the best possible it is, which its bar shows."""

    value: float
    share: float
    weak: bool


Row: TypeAlias = tuple[Sequence[str | Score | None], Mapping[str, Any]]
"""A row: its first cells, and the payload that the others are taken from. None = the image's cell."""


def table(
    about: Iterable[str],
    heads: Sequence[str | None],
    rows: Sequence[Row],
    fields: Sequence[str] | None,
    thumbnails: int,
    hidden: frozenset[str] = frozenset(),
) -> str:
    """The rows with their payloads' `fields`, or with a few of those that are not `hidden`.

    At most `thumbnails` images are shown; without any the column for them is left out.
    """
    shown = rows[:_MOST_ROWS]
    payloads = [payload for _, payload in shown]
    columns = _columns(payloads, fields, hidden)
    images = _images(payloads, thumbnails)
    lines = []
    for i, (first, payload) in enumerate(shown):
        cells = [
            _cell(cell) if cell is not None else _image_cell(images.get(i), payload)
            for cell in first
            if cell is not None or images
        ]
        lines.append("".join([*cells, *(_text_cell(_text(payload.get(column))) for column in columns)]))
    names = [head or "" for head in heads if head is not None or images]
    notes = [html.escape(line) for line in about]
    if len(rows) > len(lines):
        notes.append(f"the first {len(lines)} are shown")
    caption = "".join(f'<div style="padding-bottom:4px">{note}</div>' for note in notes)
    if not lines:
        return f"<div>{caption}</div>"
    style = f"{_LEFT};border-bottom:1px solid rgba(128,128,128,0.4)"
    head = "".join(
        f'<th scope="col" style="{style}">{html.escape(cut(name))}</th>' for name in [*names, *columns]
    )
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return (
        f'<div style="overflow-x:auto">{caption}<table style="border-collapse:collapse">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(cell: str | Score) -> str:
    return _text_cell(cell) if isinstance(cell, str) else f'<td style="{_LEFT}">{_score(cell)}</td>'


def _score(score: Score) -> str:
    share = min(1.0, max(0.0, score.share))
    mark = ' <span style="opacity:0.75">weak</span>' if score.weak else ""
    return (
        f"{score.value:.3f}{mark}"
        '<div style="width:90px;height:5px;background-color:rgba(128,128,128,0.3)">'
        f'<div style="width:{share:.0%};height:5px;background-color:#2f7fd1"></div></div>'
    )


def _text_cell(text: str) -> str:
    line = cut(text)
    return f'<td style="{_SHORT if len(line) <= _LONG_FROM else _LONG}">{html.escape(line)}</td>'


def _image_cell(data: str | None, payload: Mapping[str, Any]) -> str:
    if data is None:
        return f'<td style="{_LEFT}"></td>'
    name = html.escape(cut(PurePath(payload["path"]).name))
    return f'<td style="{_LEFT}"><img src="{data}" alt="{name}" style="max-width:96px;max-height:96px"></td>'


def _images(payloads: Sequence[Mapping[str, Any]], most: int) -> dict[int, str]:
    """By row: thumbnails of the first `most` local files that the payloads name by `path`."""
    from clipsearch.display.thumbnails import thumbnail

    made: dict[int, str] = {}
    for i, payload in enumerate(payloads):
        if len(made) >= most:
            break
        path = payload.get("path")
        data = thumbnail(Path(path)) if isinstance(path, str) else None
        if data is not None:
            made[i] = data
    return made


def _columns(
    payloads: Sequence[Mapping[str, Any]], chosen: Sequence[str] | None, hidden: frozenset[str]
) -> list[str]:
    """The fields chosen, or the first that the payloads have: names and texts before others."""
    if chosen is not None:
        return list(chosen)
    there = {key for payload in payloads for key in payload} - hidden
    first = [field for field in _FIRST_FIELDS if field in there]
    return [*first, *sorted(there.difference(first))][:_MOST_FIELDS]


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
