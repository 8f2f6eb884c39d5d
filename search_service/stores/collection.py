"""What a collection is made with, and how it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

# "tenant": of keywords of which each tells a tenant.
IndexType = Literal["keyword", "tenant", "integer", "float", "bool", "datetime", "text", "geo"]
Tokenizer = Literal["word", "whitespace", "prefix"]
Quantization = Literal["none", "scalar", "binary", "product", "turbo"]
BinaryEncoding = Literal["one_bit", "one_and_half_bits", "two_bits"]
BinaryQueryEncoding = Literal["default", "binary", "scalar4bits", "scalar8bits"]


@dataclass(frozen=True, slots=True)
class TextIndex:
    """A payload index of type text with other options than the usual ones.

    0 = any length. Stop words are sorted.
    """

    tokenizer: Tokenizer = "word"
    lowercase: bool = True
    min_token_len: int = 0
    max_token_len: int = 0
    stemmer: str = ""  # language
    stopword_languages: tuple[str, ...] = ()
    stopwords: tuple[str, ...] = ()
    phrase_matching: bool = False


PayloadIndex: TypeAlias = IndexType | TextIndex
USUAL_TEXT = TextIndex()
"""What an index "text" is."""


def index_type(index: PayloadIndex) -> IndexType:
    """The type of a payload index."""
    return "text" if isinstance(index, TextIndex) else index


@dataclass(frozen=True, slots=True)
class QuantizationParams:
    """How a quantisation works; what belongs to another one is unset. 0 = the engine's default."""

    always_ram: bool = False
    quantile: float = 0.0  # scalar: share of the values that int8 spans
    encoding: BinaryEncoding = "one_bit"
    query_encoding: BinaryQueryEncoding = "default"
    compression: int = 0  # product: times smaller than float32
    bits: float = 0.0  # turbo: bits a number


@dataclass(frozen=True, slots=True)
class Optimizers:
    """When and how a server rearranges its segments; None = as it is set up, or not known."""

    deleted_threshold: float | None = None
    vacuum_min_vector_number: int | None = None
    default_segment_number: int | None = None
    max_segment_size_kb: int | None = None
    indexing_threshold_kb: int | None = None
    max_optimization_threads: int | None = None


@dataclass(frozen=True, slots=True)
class CollectionSpec:
    """How a collection is set. 0 = the engine's default.

    `successor`: the collection that gets every write too, "" = none. `bm25_field`: the payload field whose
    words can be looked up, "" = none.
    """

    name: str
    dimension: int
    fingerprint: str
    model: str = ""
    payload_indexes: Mapping[str, PayloadIndex] = field(default_factory=dict)
    hnsw_m: int = 0
    hnsw_ef_construct: int = 0
    hnsw_full_scan_threshold_kb: int = 0
    hnsw_on_disk: bool = False
    quantization: Quantization = "none"
    quantization_params: QuantizationParams = QuantizationParams()
    on_disk_vectors: bool = False
    on_disk_payload: bool = True
    shard_number: int = 0
    replication_factor: int = 0
    write_consistency_factor: int = 0
    bm25_field: str = ""
    successor: str = ""
    optimizers: Optimizers = Optimizers()


CHANGEABLE = (
    "hnsw_m",
    "hnsw_ef_construct",
    "hnsw_full_scan_threshold_kb",
    "hnsw_on_disk",
    "quantization",
    "quantization_params",
    "on_disk_vectors",
    "on_disk_payload",
    "replication_factor",
    "write_consistency_factor",
    "optimizers",
)
"""What `VectorStore.update_collection` changes of a CollectionSpec."""


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """A collection as it stands, as far as it is known. `spec.payload_indexes` holds those added later too.

    `damage` says which of its files cannot be used, and why; all but its name and aliases is unknown then.
    """

    spec: CollectionSpec
    points: int = 0
    image_vectors: int = 0
    text_vectors: int = 0
    indexed_share: float = 0.0
    disk_bytes: int = 0
    aliases: tuple[str, ...] = ()
    damage: str = ""
