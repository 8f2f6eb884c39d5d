"""The map as one interactive HTML file that carries everything in itself: data, images, Plotly."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path, PurePath
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray
from plotly.offline import get_plotlyjs

from clipsearch.client.types import BOOKKEEPING
from clipsearch.display.text import cut
from clipsearch.display.thumbnails import thumbnail
from clipsearch.map.build import SpaceMap, View
from clipsearch.map.sample import IMAGE, SIDES, Item
from clipsearch.map.summary import summary

_HERE = Path(__file__).parent
_MOST_FIELDS = 12

_cut = partial(cut, most=120)


def write_page(
    drawn: SpaceMap, path: Path, *, thumbnails: int, on_step: Callable[[str], None] = lambda step: None
) -> None:
    """Writes the page. At most `thumbnails` points, evenly spread, show their image.

    An image is read from the local file that the payload's `path` names; where there is none the
    point shows without. Raises OSError if the page cannot be written.
    """
    on_step("making thumbnails")
    images = _thumbnails(drawn, thumbnails)
    on_step("writing the page")
    data = f"window.MAP = {_json(_data(drawn, images))};"
    scripts = [get_plotlyjs(), data, (_HERE / "page.js").read_text(encoding="utf-8")]
    template = Template((_HERE / "page.html").read_text(encoding="utf-8"))
    page = template.substitute(
        title=html.escape(drawn.sample.collection.name),
        style=(_HERE / "page.css").read_text(encoding="utf-8"),
        # regl, with which Plotly draws many points, compiles its shaders' callers: that needs eval.
        policy=f"default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; "
        f"script-src 'unsafe-eval' {' '.join(map(_hash, scripts))}",
        plotly=scripts[0],
        data=scripts[1],
        script=scripts[2],
    )
    path.write_text(page, encoding="utf-8")


def caption(item: Item) -> str:
    """A point in a few words: its text, title or name, the name of its file, or its id."""
    for field in ("text", "caption", "title", "name"):
        value = item.payload.get(field)
        if isinstance(value, str) and value.strip():
            return _cut(value)
    path = item.payload.get("path")
    return _cut(PurePath(path).name if isinstance(path, str) and path else item.id)


def first_way(drawn: SpaceMap) -> str:
    """What to colour by at first: the first payload field, else clusters, else the modality."""
    ways = list(groups_of(drawn))
    return next(iter(drawn.fields), ways[min(1, len(ways) - 1)])


def groups_of(drawn: SpaceMap) -> dict[str, tuple[list[str], NDArray[np.int16]]]:
    """How the points can be coloured: for each way the names of its groups, and each vector's group [n].

    -1 = in no group.
    """
    sample = drawn.sample
    ways: dict[str, tuple[list[str], NDArray[np.int16]]] = {
        "modality": (list(SIDES), sample.side.astype(np.int16))
    }
    if drawn.clusters:
        names = [", ".join(one.words) or f"cluster {i + 1}" for i, one in enumerate(drawn.clusters)]
        ways["cluster"] = (names, drawn.labels.astype(np.int16))
    for field, values in drawn.fields.items():
        kinds = sorted({value for value in values if value is not None})
        number = {value: i for i, value in enumerate(kinds)}
        ways[field] = (kinds, np.array([-1 if v is None else number[v] for v in values], np.int16))
    return ways


def _data(drawn: SpaceMap, images: dict[int, str]) -> dict[str, Any]:
    sample = drawn.sample
    return {
        "summary": summary(drawn),
        "views": [_view(view) for view in drawn.views],
        "item": _packed(sample.item, np.int32),
        "side": _packed(sample.side, np.uint8),
        "ids": [_cut(item.id) for item in sample.items],
        "captions": [caption(item) for item in sample.items],
        "payloads": [_fields(item) for item in sample.items],
        "images": images,
        "colour_by": first_way(drawn),
        "ways": [
            {"name": name, "groups": groups, "codes": _packed(codes, np.int16)}
            for name, (groups, codes) in groups_of(drawn).items()
        ],
    }


def _view(view: View) -> dict[str, Any]:
    return {
        "name": view.name,
        "x": _packed(view.positions[:, 0], np.float32),
        "y": _packed(view.positions[:, 1], np.float32),
        "neighbours": None if view.neighbours is None else _packed(view.neighbours, np.int32),
        "neighbours_each": 0 if view.neighbours is None else view.neighbours.shape[1],
        "questions": [
            {"title": q.title, "x": q.x, "y": q.y, "rows": q.rows, "cosines": q.cosines}
            for q in view.questions
        ],
    }


def _thumbnails(drawn: SpaceMap, most: int) -> dict[int, str]:
    """By item: only items that show an image vector and name a local file."""
    sample = drawn.sample
    candidates = [
        (int(i), path)
        for i in sample.item[sample.side == IMAGE]
        if isinstance(path := sample.items[i].payload.get("path"), str) and Path(path).is_file()
    ]
    if most <= 0 or not candidates:
        return {}
    step = -(-len(candidates) // most)
    made = ((i, thumbnail(Path(path))) for i, path in candidates[::step])
    return {i: data for i, data in made if data is not None}


def _fields(item: Item) -> dict[str, str]:
    shown = [(key, value) for key, value in item.payload.items() if key not in BOOKKEEPING][:_MOST_FIELDS]
    return {_cut(key): _cut(value if isinstance(value, str) else _json(value)) for key, value in shown}


def _packed(values: NDArray[Any] | Sequence[int], kind: type[np.generic]) -> str:
    """Little-endian numbers in base64: a third of their JSON."""
    array = np.ascontiguousarray(values, np.dtype(kind).newbyteorder("<"))
    return base64.b64encode(array.tobytes()).decode("ascii")


def _json(value: Any) -> str:
    """JSON that may stand inside of a script element: nothing in it can end the element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
