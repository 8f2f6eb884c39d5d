"""BM25 of a payload field, by the engine's own code: tokens, English stop words and stems, weights.

A collection whose settings name a field keeps a sparse vector of its words beside the dense ones; the engine
knows how rare each word is there. Qdrant Edge has the code that a Qdrant server runs for its model
`qdrant/bm25`, so both stores make their vectors with it, and nothing but numbers goes to a server.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from typing import Any

import qdrant_edge as qe

from clipsearch.filters.paths import keys, values_at
from search_service.stores.protocol import (
    PayloadChange,
    Question,
    WordsQuery,
)

WORDS = "bm25"
"""The sparse vector's name in the engine."""


def document(payload: Mapping[str, Any], field: str) -> qe.SparseVector | None:
    """The vector of the strings that the payload has at the path `field`; None without a word."""
    text = "\n".join(value for value in values_at(payload, field) if isinstance(value, str))
    vector = _model().embed_document(text)
    return vector if vector.indices else None


@lru_cache(maxsize=16)
def question(words: str) -> qe.SparseVector | None:
    """The vector of words to look up, each weighing 1; None where there are only stop words."""
    vector = _model().embed_query(words)
    return vector if vector.indices else None


def askable(query: Question) -> bool:
    """Whether there is something to ask the engine."""
    return not isinstance(query, WordsQuery) or question(query.words) is not None


def share(words: str, having: Iterable[int]) -> float:
    """Which share of the words a document has, whose vector has these indices."""
    wanted = _wanted(words)
    return len(wanted.intersection(having)) / len(wanted) if wanted else 0.0


@lru_cache(maxsize=16)
def _wanted(words: str) -> frozenset[int]:
    vector = question(words)  # a call takes 7 ms for 64 KiB, and there may be 500 hits
    return frozenset(vector.indices) if vector else frozenset()


def touches(change: PayloadChange, field: str) -> bool:
    """Whether the change may concern the field."""
    first = keys(field)[0]
    return change.whole or first in change.set or any(keys(path)[0] == first for path in change.delete)


@cache
def _model() -> qe.Bm25:
    return qe.Bm25()
