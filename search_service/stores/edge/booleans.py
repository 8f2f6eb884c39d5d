"""Booleans that Qdrant Edge can be asked for.

qdrant-edge-py 0.9.0 hands `MatchValue(True)` to the engine as the integer 1, so no filter finds a
boolean. A point's booleans are therefore kept once more as words, at the same paths below a
reserved key, and a filter on a boolean becomes one on the word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search_service.stores.protocol import RESERVED_PREFIX

BOOLEANS_KEY = f"{RESERVED_PREFIX}_bool"


def boolean_path(key: str) -> str:
    """Where the words of a payload field's booleans are."""
    return f"{BOOLEANS_KEY}.{key}"


def boolean_word(value: bool) -> str:
    """The word for a boolean."""
    return "true" if value else "false"


def boolean_words(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The payload's booleans as words in the payload's own shape, without anything else.

    `{"sold": True, "price": 3, "shops": [{"open": False}]}` gives
    `{"sold": "true", "shops": [{"open": "false"}]}`.
    """
    words = {key: _words(value) for key, value in payload.items()}
    return {key: value for key, value in words.items() if value is not None}


def _words(value: Any) -> Any:
    if isinstance(value, bool):
        return boolean_word(value)
    if isinstance(value, dict):  # not Mapping: asking that of every value takes three times as long
        return boolean_words(value) or None
    if isinstance(value, list):
        words = [_words(item) for item in value]  # None keeps the place, for paths such as tags[1]
        return words if any(word is not None for word in words) else None
    return None
