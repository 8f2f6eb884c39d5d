"""An item becomes a point: its picture is read, its id and the hash of its content are made."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from clipsearch.connection import MAX_MESSAGE_BYTES
from clipsearch.ingest.source import Item
from clipsearch.inputs import Point

CONTENT_HASH = "content_hash"
"""The payload key by which a later run tells whether a row with an id of its own has changed."""

_LARGEST_FILE = MAX_MESSAGE_BYTES - 64 * 1024  # room for the payload and the rest of the request
_EXACT_INTEGER = 2**53
_HEX_DIGITS = 32


class BadItem(Exception):
    """The item cannot be sent; the message says why."""


def to_point(item: Item) -> Point:
    """The point to write. Reads the picture. Raises BadItem, and OSError with the reason."""
    if item.path is None and item.text is None and item.is_encoded:
        raise BadItem("has neither a picture nor a text")
    _check_json(item.id, "id")
    _check_json(item.text, "text")
    _check_json(item.payload, "payload")
    image = None if item.path is None else _read(item)
    payload = item.payload
    if item.id is not None and item.is_encoded:
        payload = {**payload, CONTENT_HASH: content_hash(image, item.text, payload)}
    return Point(
        id=content_id(item, image) if item.id is None else item.id,
        image=image,
        text=item.text,
        image_vector=item.image_vector,
        text_vector=item.text_vector,
        payload=payload,
    )


def content_id(item: Item, image: bytes | None) -> str:
    """The id of an item that has none: the first 32 hex digits of the SHA-256 of what it holds.

    Equal pictures are one point, and so are equal texts and equal vectors.
    """
    digest = hashlib.sha256(image or b"")
    if item.text is not None:
        digest.update(item.text.encode())
    for vector in (item.image_vector, item.text_vector):
        if vector is not None:
            digest.update(np.asarray(vector, dtype="<f4").tobytes())
    return digest.hexdigest()[:_HEX_DIGITS]


def content_hash(image: bytes | None, text: str | None, payload: Mapping[str, Any]) -> str:
    """A hash over all that the point holds but its id: 32 hex digits."""
    rest = json.dumps([text, payload], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256((image or b"") + rest.encode()).hexdigest()[:_HEX_DIGITS]


def _read(item: Item) -> bytes:
    assert item.path is not None
    try:
        with item.path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
    except ValueError as error:
        raise BadItem(f"{str(item.path)!r} cannot be a path ({error})") from None
    if len(content) > _LARGEST_FILE:
        raise BadItem(f"its picture has more than {_LARGEST_FILE:,} bytes, which cannot be sent")
    return content


def _check_json(value: Any, where: str) -> None:
    """Raises BadItem for what a payload cannot hold, or not exactly."""
    if isinstance(value, str):
        if not value.isascii():
            _check_unicode(value, where)
    elif isinstance(value, bool | None):
        pass
    elif isinstance(value, int):
        if abs(value) > _EXACT_INTEGER:
            raise BadItem(f"{where}: {value} is beyond 2**53 and would be rounded; make it a string")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise BadItem(f"{where}: {value} is no JSON number")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            _check_json(key, where)
            _check_json(inner, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            _check_json(inner, f"{where}[{i}]")
    else:
        raise BadItem(f"{where}: {type(value).__name__} is no JSON; leave the column out of the payload")


def _check_unicode(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadItem(f"{where}: half a character ({text[error.start]!r}) that cannot be sent") from None
