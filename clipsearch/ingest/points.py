"""An item becomes a point, and is compared with the point that is there."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from datetime import time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from clipsearch.client.convert import f32, plain
from clipsearch.client.errors import ArgumentError
from clipsearch.client.inputs import Point, image_bytes
from clipsearch.client.types import CONTENT_HASH, INDEXED_FROM, SPOILT
from clipsearch.ingest.source import Item, digest_of, path_text

COPIES = "copies"
"""The payload key of a folder's image for the paths of equal images."""
COMPARED = (CONTENT_HASH, INDEXED_FROM, COPIES, "path", "name", "folder", "bytes", "modified")
"""Payload keys that `changes` has to see."""

_MOST_COPIES = 20  # a folder may hold thousands of one image, a payload 64 KiB
_HEX_DIGITS = 32
_OF_FOLDER = frozenset({"path", "name", "folder", "bytes", "modified"})

Changes = Mapping[str, Any]
"""What becomes of a payload: new values by key; None = the key goes. Empty: it is as it should be."""


def to_point(item: Item) -> Point:
    """The point to write. Reads the image. Raises ArgumentError and OSError with the reason."""
    if item.problem:
        raise ArgumentError(item.problem)
    if item.path is None and item.text is None and item.is_encoded:
        raise ArgumentError("has neither an image nor a text")
    json_value(item.id, "id")
    json_value(item.text, "text")
    payload: dict[str, Any] = json_value(dict(item.payload), "payload")
    image = None if item.path is None else image_bytes(item.path, "image")
    id = item.id
    if item.is_encoded and (item.origin or id is not None):
        digest = content_hash(image, item.text, payload)
        if id is None:
            id = digest
        else:
            payload[CONTENT_HASH] = digest
    if item.origin:
        payload[INDEXED_FROM] = [item.origin]
    return Point(
        id=content_id(item, image) if id is None else id,
        image=image,
        text=item.text,
        image_vector=item.image_vector,
        text_vector=item.text_vector,
        payload=payload,
    )


def content_id(item: Item, image: bytes | None) -> str:
    """The id of an item that has none: the first 32 hex digits of the SHA-256 of what it holds.

    Equal images are one point, and so are equal texts and equal vectors. Raises ArgumentError.
    """
    digest = hashlib.sha256(image or b"")
    if item.text is not None:
        digest.update(item.text.encode())
    for name, vector in (("image_vector", item.image_vector), ("text_vector", item.text_vector)):
        if vector is not None:
            digest.update(f32(vector, name))
    return digest.hexdigest()[:_HEX_DIGITS]


def content_hash(image: bytes | None, text: str | None, payload: Mapping[str, Any]) -> str:
    """A hash over all that the point holds but its id: 32 hex digits."""
    rest = json.dumps([text, payload], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256((image or b"") + rest.encode()).hexdigest()[:_HEX_DIGITS]


def is_image(payload: Mapping[str, Any]) -> bool:
    """Whether a stored point is an image of a folder that was indexed."""
    return payload.keys() >= _OF_FOLDER and not payload.keys() & {CONTENT_HASH, INDEXED_FROM}


def row_changes(point: Point, stored: Mapping[str, Any]) -> Changes | None:
    """What the payload of a list's row lacks; None if the row is another than the stored one."""
    if stored.get(CONTENT_HASH) != point.payload.get(CONTENT_HASH):
        return None
    return {} if is_listed(point, stored) else {INDEXED_FROM: _lists(point, stored)}


def is_spoilt(stored: Mapping[str, Any]) -> bool:
    """Whether the vectors of a stored row were changed, by `clipsearch update`."""
    return stored.get(CONTENT_HASH) == SPOILT


def kept_lists(point: Point, stored: Mapping[str, Any]) -> Changes:
    """The lists that a row stays of which is written again for its vectors: others may have it as it was."""
    return {INDEXED_FROM: _lists(point, stored)} if is_spoilt(stored) else {}


def is_listed(point: Point, stored: Mapping[str, Any]) -> bool:
    """Whether the stored point remembers the list that the row is of."""
    return set(point.payload.get(INDEXED_FROM, ())) <= set(strings(stored.get(INDEXED_FROM)))


def _lists(point: Point, stored: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys([*strings(stored.get(INDEXED_FROM)), *point.payload.get(INDEXED_FROM, ())]))


def image_changes(id: str, paths: Sequence[Path], payloads: Sequence[Changes], stored: Changes) -> Changes:
    """What the payload of an image lacks that stands at these paths. Reads the file that it names.

    The point keeps its path as long as the image is there too.
    """
    known = stored.get("path")
    texts = [path_text(path) for path in paths]
    fresh: dict[str, Any] = {}
    if known in texts:
        fresh = dict(payloads[texts.index(known)])
    elif not isinstance(known, str) or not is_at(known, id, paths):
        fresh = dict(payloads[0])
    kept = fresh.get("path", known)
    before = strings(stored.get(COPIES))
    copies = [path for path in before if path in texts or os.path.lexists(path)]
    copies += [path for path in texts if path not in copies]
    fresh[COPIES] = [path for path in copies if path != kept][:_MOST_COPIES] or None
    return {key: value for key, value in fresh.items() if stored.get(key) != value}


def new_copies(paths: Sequence[Path]) -> Changes:
    """What the payload of a new image gets that stands at these paths."""
    others = [path_text(path) for path in paths[1:]][:_MOST_COPIES]
    return {COPIES: others} if others else {}


def changed(payload: Mapping[str, Any], changes: Changes) -> dict[str, Any]:
    """The payload with the changes made."""
    return {
        key: value for key, value in {**payload, **changes}.items() if value is not None or key not in changes
    }


def is_at(path: str, id: str, besides: Sequence[Path] = ()) -> bool:
    """Whether the image whose `content_id` this is stands at a path, and under a name of its own.

    Where a file system takes two cases or spellings of a name for one, the old one is none any more.
    """
    file = _spelt(path)
    if file is None:
        return False
    for other in besides:
        if other.parent == file.parent and other.name.casefold() == file.name.casefold():
            try:
                if file.name not in {entry.name for entry in file.parent.iterdir()}:
                    return False
            except OSError:
                return False
    try:
        return digest_of(file)[:_HEX_DIGITS] == id
    except (OSError, ValueError):
        return False


def strings(value: Any) -> list[str]:
    """The strings in a payload's list; none where it is something else."""
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def json_value(value: Any, where: str) -> Any:
    """A cell as a payload holds it: as `clipsearch.client.convert` has it, and what means "no value" as None.

    That is NaN in any type, and a time that is none. A time of day is its ISO 8601 text, a duration
    its seconds. Raises ArgumentError for what a payload cannot hold, or not exactly.
    """
    if isinstance(value, str | int | None):  # nearly all
        return plain(value, where)
    if isinstance(value, float | np.floating) and math.isnan(value):
        return None
    if isinstance(value, Decimal) and value.is_nan():
        return None
    if isinstance(value, np.datetime64 | np.timedelta64) and np.isnat(value):
        return None
    if isinstance(value, time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds() if value == value else None  # pandas' NaT is a timedelta too
    if isinstance(value, np.ndarray):
        return json_value(value.tolist(), where)
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {json_value(key, where): json_value(inner, f"{where}.{key}") for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(inner, f"{where}[{i}]") for i, inner in enumerate(value)]
    if isinstance(value, bytes | bytearray):
        raise ArgumentError(f"{where}: bytes are no JSON; leave the column out of the payload")
    return plain(value, where)


def _spelt(path: str) -> Path | None:
    """The file that a payload's path means: bytes that are no UTF-8 were replaced in it."""
    file = Path(path)
    if "\N{REPLACEMENT CHARACTER}" not in path or os.path.lexists(file):
        return file
    parent = _spelt(str(file.parent))
    try:
        entries = list(parent.iterdir()) if parent is not None else []
    except OSError:
        return None
    return next((entry for entry in entries if path_text(entry.name) == file.name), None)
