"""The words that callers choose from, and the values that stand for them in the protos."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clipsearch.client.errors import ArgumentError
from clipsearch.search.v1 import collection_pb2, search_pb2


def _words(enum: Any) -> dict[Any, Any]:
    """By the value's name without what all begin with; 0 is "unspecified" and has no word."""
    prefix = enum.Name(0).removesuffix("UNSPECIFIED")
    return {name.removeprefix(prefix).lower(): value for name, value in enum.items() if value}


TARGETS = _words(search_pb2.Target)
STRATEGIES = _words(search_pb2.Strategy)
KINDS = _words(search_pb2.TermKind)
FUSIONS = _words(search_pb2.Fusion)
INDEX_TYPES = {
    "tenant": collection_pb2.PAYLOAD_INDEX_TYPE_KEYWORD,  # and `is_tenant`
    **_words(collection_pb2.PayloadIndexType),
}
QUANTIZATIONS = _words(collection_pb2.Quantization)
TOKENIZERS = _words(collection_pb2.TokenizerType)
ENCODINGS = _words(collection_pb2.BinaryEncoding)
QUERY_ENCODINGS: dict[Any, Any] = {
    word.replace("scalar_", "scalar"): value
    for word, value in _words(collection_pb2.BinaryQueryEncoding).items()
}


def choice(field: str, value: Any, known: Mapping[Any, Any]) -> Any:
    """What stands for a word of the caller. Raises ValueError for one that is not known."""
    if not isinstance(value, str) or value not in known:
        raise ArgumentError(f"{field}: {value!r} is none of {', '.join(known)}")
    return known[value]
