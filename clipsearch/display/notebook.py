"""Results as HTML tables, for notebooks: no script, every value escaped, readable in light and dark.

Styles stand in the elements, because notebooks that are not trusted drop style sheets. Text has the
notebook's own colour, bars and lines one that is seen on white and on black. Of what payloads name
only plain files of at most 20 MiB are opened, and none for rows that are not shown.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from clipsearch.client.inputs import BOOKKEEPING
from clipsearch.display.thumbnails import thumbnail

if TYPE_CHECKING:
    from clipsearch.client.types import Hit, Page, SearchResult

THUMBNAILS = 24
"""Pictures that a table shows unless told otherwise: about 150 KB."""

_MOST_ROWS = 100
_MOST_FIELDS = 6
_MOST_TEXT = 160
_MOST_FILE_BYTES = 20 * 1024 * 1024
_FIRST_FIELDS = ("title", "name", "text", "caption")

_LEFT = "text-align:left;vertical-align:top;padding:4px 10px 4px 0"
_SHORT = f"{_LEFT};white-space:nowrap"
_LONG = f"{_LEFT};min-width:16em;max-width:28em;overflow-wrap:anywhere;white-space:normal"
_SCORES = ", scores in spreads above the best that unrelated queries find"
_LONG_FROM = 36  # characters: an id that is a hash or a UUID stays on one line


def hits_table(result: SearchResult, fields: Sequence[str] | None, thumbnails: int) -> str:
    """The hits of a search, best first."""
    hits = result.hits[:_MOST_ROWS]
    columns = _columns([hit.payload for hit in hits], fields)
    pictures = _pictures([hit.payload for hit in hits], thumbnails)
    scale = 1.0 if not result.fused else max((hit.score for hit in hits), default=1.0)
    heads = ["#", *([""] if pictures else []), "score", "matched", "id", *columns]
    rows = []
    for i, hit in enumerate(hits):
        cells = [
            _words(str(i + 1)),
            *([_picture_cell(pictures.get(i), hit.payload)] if pictures else []),
            f'<td style="{_LEFT}">{_score(hit, scale)}</td>',
            _words(hit.matched),
            _words(hit.id),
            *(_words(_text(hit.payload.get(column))) for column in columns),
        ]
        rows.append("".join(cells))
    return _table(_about(result), heads, rows, len(result))


def points_table(page: Page, fields: Sequence[str] | None, thumbnails: int) -> str:
    """The points of a page, in its order."""
    points = page.points[:_MOST_ROWS]
    columns = _columns([point.payload for point in points], fields)
    pictures = _pictures([point.payload for point in points], thumbnails)
    heads = [*([""] if pictures else []), "id", "vectors", *columns]
    rows = []
    for i, point in enumerate(points):
        sides = [side for side, has in (("image", point.has_image), ("text", point.has_text)) if has]
        cells = [
            *([_picture_cell(pictures.get(i), point.payload)] if pictures else []),
            _words(point.id),
            _words(", ".join(sides)),
            *(_words(_text(point.payload.get(column))) for column in columns),
        ]
        rows.append("".join(cells))
    about = f"{_number(len(page.points), 'point')}{', more follow' if page.next_token else ''}"
    return _table([about], heads, rows, len(page.points))


def _about(result: SearchResult) -> list[str]:
    lines = [
        f"{_number(len(result), 'hit')}{_SCORES if result.fusion == 'calibrated' else ''}; "
        f"encoder {result.encode_ms:.1f} ms, store {result.store_ms:.1f} ms"
    ]
    lines += [
        f"term {position + 1} was too long for the model; {_number(dropped, 'token')} cut off"
        for position, dropped in result.tokens_dropped.items()
    ]
    return lines


def _score(hit: Hit, scale: float) -> str:
    share = min(1.0, max(0.0, hit.score / scale)) if scale > 0 else 0.0
    mark = ' <span style="opacity:0.75">weak</span>' if hit.weak else ""
    return (
        f"{hit.score:.3f}{mark}"
        '<div style="width:90px;height:5px;background-color:rgba(128,128,128,0.3)">'
        f'<div style="width:{share:.0%};height:5px;background-color:#2f7fd1"></div></div>'
    )


def _table(about: Iterable[str], heads: Sequence[str], rows: Sequence[str], total: int) -> str:
    notes = [html.escape(line) for line in about]
    if total > len(rows):
        notes.append(f"the first {len(rows)} are shown")
    caption = "".join(f'<div style="padding-bottom:4px">{note}</div>' for note in notes)
    if not rows:
        return f"<div>{caption}</div>"
    line = "border-bottom:1px solid rgba(128,128,128,0.4)"
    head = "".join(f'<th scope="col" style="{_LEFT};{line}">{html.escape(_cut(name))}</th>' for name in heads)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return (
        f'<div style="overflow-x:auto">{caption}<table style="border-collapse:collapse">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _words(text: str) -> str:
    line = _cut(text)
    return f'<td style="{_SHORT if len(line) <= _LONG_FROM else _LONG}">{html.escape(line)}</td>'


def _picture_cell(data: str | None, payload: Mapping[str, Any]) -> str:
    if data is None:
        return f'<td style="{_LEFT}"></td>'
    name = html.escape(_cut(PurePath(payload["path"]).name))
    return f'<td style="{_LEFT}"><img src="{data}" alt="{name}" style="max-width:96px;max-height:96px"></td>'


def _pictures(payloads: Sequence[Mapping[str, Any]], most: int) -> dict[int, str]:
    """By row: thumbnails of the first `most` local files that the payloads name by `path`."""
    made: dict[int, str] = {}
    for i, payload in enumerate(payloads):
        if len(made) >= most:
            break
        data = _thumbnail(payload.get("path"))
        if data is not None:
            made[i] = data
    return made


def _thumbnail(path: Any) -> str | None:
    """None for what is no file here: a device or a pipe, say, which could hold up the reader for good."""
    if not isinstance(path, str):
        return None
    try:
        file = Path(path)
        if not file.is_file() or file.stat().st_size > _MOST_FILE_BYTES:
            return None
    except (OSError, ValueError):
        return None
    return thumbnail(file)


def _columns(payloads: Sequence[Mapping[str, Any]], chosen: Sequence[str] | None) -> list[str]:
    """The fields chosen, or the first that the payloads have: names and texts before others."""
    if chosen is not None:
        return list(chosen)
    there = {key for payload in payloads for key in payload} - BOOKKEEPING
    first = [field for field in _FIRST_FIELDS if field in there]
    return [*first, *sorted(there.difference(first))][:_MOST_FIELDS]


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MOST_TEXT else line[: _MOST_TEXT - 1] + "…"


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
