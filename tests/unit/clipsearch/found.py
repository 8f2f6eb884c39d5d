"""Results as the client returns them, made by hand."""

from __future__ import annotations

from typing import Any

from clipsearch.client.types import Hit, Page, SearchResult, StoredPoint


def a_hit(id: str = "a", score: float = 0.5, **changes: Any) -> Hit:
    """A hit on a picture."""
    return Hit(**{"id": id, "score": score, "matched": "image", "cosine": score, "payload": {}} | changes)


def a_result(*hits: Hit, **changes: Any) -> SearchResult:
    """The answer of a search."""
    about: dict[str, Any] = {"fused": False, "fingerprint": "f", "encode_ms": 1.0, "store_ms": 2.0}
    return SearchResult(hits, **about | changes)


def a_page(*payloads: dict[str, Any], next_token: str = "") -> Page:
    """A page of points with pictures, called p0, p1, ..."""
    points = tuple(StoredPoint(f"p{n}", payload, True, False) for n, payload in enumerate(payloads))
    return Page(points, next_token)
