"""The words that callers choose from, and the values that stand for them in the protos."""

from __future__ import annotations

from typing import Any

from clipsearch.client.inputs import (
    BinaryEncoding,
    BinaryQueryEncoding,
    Fusion,
    IndexType,
    Kind,
    Quantization,
    Target,
)
from clipsearch.search.v1 import collection_pb2, search_pb2


def _words(enum: Any, prefix: str) -> dict[Any, Any]:
    """By the value's name without the prefix; 0 is "unspecified" and has no word."""
    return {name.removeprefix(prefix).lower(): value for name, value in enum.items() if value}


TARGETS: dict[Target, search_pb2.Target.ValueType] = _words(search_pb2.Target, "TARGET_")
KINDS: dict[Kind, search_pb2.TermKind.ValueType] = _words(search_pb2.TermKind, "TERM_KIND_")
FUSIONS: dict[Fusion, search_pb2.Fusion.ValueType] = _words(search_pb2.Fusion, "FUSION_")
INDEX_TYPES: dict[IndexType, collection_pb2.PayloadIndexType.ValueType] = _words(
    collection_pb2.PayloadIndexType, "PAYLOAD_INDEX_TYPE_"
)
QUANTIZATIONS: dict[Quantization, collection_pb2.Quantization.ValueType] = _words(
    collection_pb2.Quantization, "QUANTIZATION_"
)
ENCODINGS: dict[BinaryEncoding, collection_pb2.BinaryEncoding.ValueType] = _words(
    collection_pb2.BinaryEncoding, "BINARY_ENCODING_"
)
QUERY_ENCODINGS: dict[BinaryQueryEncoding, collection_pb2.BinaryQueryEncoding.ValueType] = {
    word.replace("scalar_", "scalar"): value
    for word, value in _words(collection_pb2.BinaryQueryEncoding, "BINARY_QUERY_ENCODING_").items()
}
