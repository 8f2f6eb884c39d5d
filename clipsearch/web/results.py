"""What the client returned, as JSON for the page. Payloads come from anywhere, so they are cut to a bound."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from pathlib import PurePath
from typing import Any
from urllib.parse import urlencode

from clipsearch.client.types import Classification, Collection, Group, Hit, Model, SearchResult

MAX_VALUES = 200
MAX_CHARACTERS = 2_000
MAX_DEPTH = 8
_TEXTS = ("text", "caption", "title")


def collection(found: Collection, model: Model | None) -> dict[str, Any]:
    """A collection in a list to choose from."""
    return {
        "name": found.name,
        "aliases": found.aliases,
        "points": found.points,
        "image_vectors": found.image_vectors,
        "text_vectors": found.text_vectors,
        "fingerprint": found.fingerprint,
        "model": found.model,
        "damage": found.damage,
        "bm25_field": found.bm25_field,
        "indexes": {
            field: index if isinstance(index, str) else "text"
            for field, index in found.payload_indexes.items()
        },
        "fits_encoder": model is not None and model.fingerprint == found.fingerprint,
    }


def model(found: Model) -> dict[str, Any]:
    """An encoder's model."""
    return {
        "name": found.name,
        "fingerprint": found.fingerprint,
        "dimension": found.dimension,
        "pretrained": found.pretrained,
        "weak_match_below": number(found.weak_match_below),
    }


def hits(
    result: SearchResult,
    *,
    side: str,
    collection: str,
    limit: int,
    with_images: Container[object],
    groups: Sequence[Group] | None = None,
) -> dict[str, Any]:
    """A search's answer; a hit beyond `limit` tells of more. `with_images`: the paths that can be shown.

    Of groups, which are shown whole, each says how many of the hits are its own.
    """
    shown = []
    for hit in result.hits[:limit] if groups is None else result.hits:
        asked = urlencode({"side": side, "collection": collection, "id": hit.id, "size": 160})
        shown.append({**_hit(hit), "thumb": f"/thumb?{asked}" if path_of(hit) in with_images else None})
    return {
        "hits": shown,
        "groups": None if groups is None else [_group(group) for group in groups],
        "fusion": result.fusion,
        "more": groups is None and len(result) > limit,
        "tokens_dropped": {str(term): dropped for term, dropped in result.tokens_dropped.items()},
        "weak_match_below": number(result.weak_match_below),
    }


def classification(result: Classification) -> dict[str, Any]:
    """Labels, best first."""
    return {
        "scores": [
            {"label": s.label, "probability": number(s.probability), "cosine": number(s.cosine)}
            for s in result.scores
        ]
    }


def number(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return round(value, 6) if math.isfinite(value) else None


def payload(values: Mapping[str, Any]) -> dict[str, Any]:
    """A payload of at most MAX_VALUES values, each of them short; what is cut ends with an ellipsis."""
    left = [MAX_VALUES]
    shown = _cut(values, left, 0)
    return shown if isinstance(shown, dict) else {}


def text(value: str) -> str:
    """A text of at most MAX_CHARACTERS."""
    return value if len(value) <= MAX_CHARACTERS else value[: MAX_CHARACTERS - 1] + "…"


def path_of(hit: Hit) -> str | None:
    """The payload's path."""
    path = hit.payload.get("path")
    return path if isinstance(path, str) else None


def _hit(hit: Hit) -> dict[str, Any]:
    written = next((v for name in _TEXTS if isinstance(v := hit.payload.get(name), str) and v.strip()), None)
    name = PurePath(path_of(hit) or "").name
    return {
        "id": hit.id,
        "score": number(hit.score),
        "cosine": number(hit.cosine),
        "matched": hit.matched,
        "weak": hit.weak,
        "payload": payload(hit.payload),
        "title": text(name or written or hit.id),
        "text": text(written) if written else None,
        "image_rank": hit.image_rank,
        "text_rank": hit.text_rank,
        "words_rank": hit.words_rank,
        "words_score": number(hit.words_score),
    }


def _group(group: Group) -> dict[str, Any]:
    value = text(group.value) if isinstance(group.value, str) else group.value
    return {"value": value, "hits": len(group.hits)}


def _cut(value: Any, left: list[int], depth: int) -> Any:
    """The value within what is left of the bound. `left` is counted down."""
    left[0] -= 1
    if isinstance(value, str):
        return text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if not isinstance(value, Mapping | list):
        return value
    if depth == MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        fields: dict[str, Any] = {}
        for key, inner in value.items():
            if left[0] <= 0:
                fields["…"] = "…"
                break
            fields[text(key)] = _cut(inner, left, depth + 1)
        return fields
    items: list[Any] = []
    for inner in value:
        if left[0] <= 0:
            items.append("…")
            break
        items.append(_cut(inner, left, depth + 1))
    return items
