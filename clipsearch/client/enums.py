"""The words that callers choose from, and the values that stand for them in the protos."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from clipsearch.client.errors import ArgumentError
from clipsearch.client.inputs import (
    BinaryEncoding,
    BinaryQueryEncoding,
    Fusion,
    IndexType,
    Kind,
    Quantization,
    Strategy,
    Target,
    Tokenizer,
)
from clipsearch.search.v1 import collection_pb2, search_pb2

Name = TypeVar("Name", bound=str)
Value = TypeVar("Value")


def _words(enum: Any, prefix: str) -> dict[Any, Any]:
    """By the value's name without the prefix; 0 is "unspecified" and has no word."""
    return {name.removeprefix(prefix).lower(): value for name, value in enum.items() if value}


TARGETS: dict[Target, search_pb2.Target.ValueType] = _words(search_pb2.Target, "TARGET_")
STRATEGIES: dict[Strategy, search_pb2.Strategy.ValueType] = _words(search_pb2.Strategy, "STRATEGY_")
KINDS: dict[Kind, search_pb2.TermKind.ValueType] = _words(search_pb2.TermKind, "TERM_KIND_")
FUSIONS: dict[Fusion, search_pb2.Fusion.ValueType] = _words(search_pb2.Fusion, "FUSION_")
INDEX_TYPES: dict[IndexType, collection_pb2.PayloadIndexType.ValueType] = {
    "tenant": collection_pb2.PAYLOAD_INDEX_TYPE_KEYWORD,  # and `is_tenant`
    **_words(collection_pb2.PayloadIndexType, "PAYLOAD_INDEX_TYPE_"),
}
QUANTIZATIONS: dict[Quantization, collection_pb2.Quantization.ValueType] = _words(
    collection_pb2.Quantization, "QUANTIZATION_"
)
TOKENIZERS: dict[Tokenizer, collection_pb2.TokenizerType.ValueType] = _words(
    collection_pb2.TokenizerType, "TOKENIZER_TYPE_"
)
ENCODINGS: dict[BinaryEncoding, collection_pb2.BinaryEncoding.ValueType] = _words(
    collection_pb2.BinaryEncoding, "BINARY_ENCODING_"
)
QUERY_ENCODINGS: dict[BinaryQueryEncoding, collection_pb2.BinaryQueryEncoding.ValueType] = {
    word.replace("scalar_", "scalar"): value
    for word, value in _words(collection_pb2.BinaryQueryEncoding, "BINARY_QUERY_ENCODING_").items()
}


def choice(field: str, value: Name, known: Mapping[Name, Value]) -> Value:
    """What stands for a word of the caller. Raises ValueError for one that is not known."""
    if not isinstance(value, str) or value not in known:
        raise ArgumentError(f"{field}: {value!r} is none of {', '.join(known)}")
    return known[value]
