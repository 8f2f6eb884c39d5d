"""What a stored point was made of: its image from the path, its text from the text in its payload.

The images and texts themselves are not stored, so a point whose payload does not lead to them
cannot be encoded again. It is all of a point or nothing: half of it would be found as if it were all.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from clipsearch.client.inputs import Point, image_bytes
from clipsearch.client.types import StoredPoint
from clipsearch.filters.paths import values_at

# The payload that `clipsearch index` writes; the id is the hash of the file's bytes then.
_OF_INDEX = frozenset({"path", "name", "folder", "bytes", "modified"})
_ID_DIGITS = 32


@dataclass(frozen=True, slots=True)
class Fields:
    """Where payloads tell the path of an image and the words of a text; dots go into nested objects."""

    path: str = "path"
    text: str = "text"


@dataclass(frozen=True, slots=True)
class Lacking:
    """A point that the new collection has not got.

    `not re-encodable`: nothing leads to what it was made of. `failed`: something does, and did not work.
    """

    id: str
    kind: Literal["not re-encodable", "failed"]
    reason: str


def source_of(stored: StoredPoint, fields: Fields) -> Point | Lacking:
    """The point to encode again. Reads its image."""
    image: bytes | None = None
    text: str | None = None
    if stored.has_text:
        words = values_at(stored.payload, fields.text)
        if len(words) != 1 or not isinstance(words[0], str):
            return Lacking(stored.id, "not re-encodable", f"no text in its payload's field {fields.text!r}")
        text = words[0]
    if stored.has_image:
        paths = values_at(stored.payload, fields.path)
        if len(paths) != 1 or not isinstance(path := paths[0], str):
            return Lacking(stored.id, "not re-encodable", f"no path in its payload's field {fields.path!r}")
        try:
            image = image_bytes(path, "image")
        except (OSError, ValueError) as error:
            return Lacking(stored.id, "failed", f"{path}: {getattr(error, 'strerror', None) or error}")
        known = hashlib.sha256(image).hexdigest()[:_ID_DIGITS]
        if stored.payload.keys() >= _OF_INDEX and known != stored.id:
            return Lacking(stored.id, "failed", f"{path}: the file has changed since it was indexed")
    return Point(id=stored.id, image=image, text=text, payload=stored.payload)
