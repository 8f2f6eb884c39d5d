"""Requests about collections.

Raises TypeError and ValueError where a value cannot be sent at all; what the service can judge is left to it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from clipsearch.client import inputs
from clipsearch.client.convert import (
    ENCODINGS,
    INDEX_TYPES,
    QUANTIZATIONS,
    QUERY_ENCODINGS,
    TOKENIZERS,
    choice,
)
from clipsearch.client.errors import ArgumentError, ArgumentTypeError
from clipsearch.client.inputs import (
    BinaryEncoding,
    BinaryQueryEncoding,
    PayloadIndex,
    Quantization,
    TextIndex,
    message,
)
from clipsearch.search.v1 import collection_pb2

_QUANTIZATION_PARAMS = collection_pb2.QuantizationParams.DESCRIPTOR.fields_by_name.keys()
_OPTIMIZERS = collection_pb2.OptimizersConfig.DESCRIPTOR.fields_by_name.keys()


def create_collection(
    name: str,
    *,
    payload_indexes: Mapping[str, PayloadIndex] | None = None,
    hnsw_m: int = 0,
    hnsw_ef_construct: int = 0,
    hnsw_full_scan_threshold_kb: int = 0,
    hnsw_on_disk: bool = False,
    quantization: Quantization = "none",
    quantization_always_ram: bool = False,
    quantization_quantile: float = 0.0,
    quantization_encoding: BinaryEncoding | None = None,
    quantization_query_encoding: BinaryQueryEncoding | None = None,
    quantization_compression: int = 0,
    quantization_bits: float = 0.0,
    on_disk_vectors: bool = False,
    on_disk_payload: bool = True,
    shard_number: int = 0,
    replication_factor: int = 0,
    write_consistency_factor: int = 0,
    bm25_field: str = "",
    dimension: int = 0,
    fingerprint: str = "",
    model: str = "",
) -> collection_pb2.CreateCollectionRequest:
    """Creates a collection for an encoder's model. See `clipsearch.client.inputs.CollectionOptions`."""
    if payload_indexes is not None and not isinstance(payload_indexes, Mapping):
        raise ArgumentTypeError(
            "payload_indexes: must map fields to types, such as {'price': 'float'}, "
            f"is {payload_indexes!r} of type {type(payload_indexes).__name__}"
        )
    return message(
        collection_pb2.CreateCollectionRequest,
        name=inputs.string(name, "name"),
        payload_indexes=[_payload_index(field, index) for field, index in (payload_indexes or {}).items()],
        hnsw=message(
            collection_pb2.HnswConfig,
            "hnsw_{}".format,
            m=hnsw_m,
            ef_construct=hnsw_ef_construct,
            full_scan_threshold_kb=hnsw_full_scan_threshold_kb,
            on_disk=hnsw_on_disk,
        ),
        quantization=choice("quantization", quantization, QUANTIZATIONS),
        quantization_params=message(
            collection_pb2.QuantizationParams,
            "quantization_{}".format,
            always_ram=quantization_always_ram,
            quantile=quantization_quantile,
            encoding=collection_pb2.BINARY_ENCODING_UNSPECIFIED
            if quantization_encoding is None
            else choice("quantization_encoding", quantization_encoding, ENCODINGS),
            query_encoding=collection_pb2.BINARY_QUERY_ENCODING_UNSPECIFIED
            if quantization_query_encoding is None
            else choice("quantization_query_encoding", quantization_query_encoding, QUERY_ENCODINGS),
            compression=quantization_compression,
            bits=quantization_bits,
        ),
        on_disk_vectors=on_disk_vectors,
        on_disk_payload=on_disk_payload,
        shard_number=shard_number,
        replication_factor=replication_factor,
        write_consistency_factor=write_consistency_factor,
        bm25_field=inputs.string(bm25_field, "bm25_field"),
        dimension=dimension,
        fingerprint=fingerprint,
        model=model,
    )


def update_collection(
    name: str,
    *,
    hnsw_m: int | None = None,
    hnsw_ef_construct: int | None = None,
    hnsw_full_scan_threshold_kb: int | None = None,
    hnsw_on_disk: bool | None = None,
    quantization: Quantization | None = None,
    quantization_params: Mapping[str, Any] | None = None,
    on_disk_vectors: bool | None = None,
    on_disk_payload: bool | None = None,
    replication_factor: int | None = None,
    write_consistency_factor: int | None = None,
    optimizers: Mapping[str, float] | None = None,
) -> collection_pb2.UpdateCollectionRequest:
    """Changes settings of a collection; None = stays. What they ask for is built in the background.

    `quantization_params` (always_ram, quantile, encoding, query_encoding, compression, bits) replace all that
    were set. `optimizers` (deleted_threshold, vacuum_min_vector_number, default_segment_number,
    max_segment_size_kb, indexing_threshold_kb, max_optimization_threads) and replicas are of a Qdrant server.
    """
    return message(
        collection_pb2.UpdateCollectionRequest,
        name=inputs.string(name, "name"),
        hnsw=message(
            collection_pb2.HnswConfigDiff,
            "hnsw_{}".format,
            m=hnsw_m,
            ef_construct=hnsw_ef_construct,
            full_scan_threshold_kb=hnsw_full_scan_threshold_kb,
            on_disk=hnsw_on_disk,
        ),
        quantization=collection_pb2.QUANTIZATION_UNSPECIFIED
        if quantization is None
        else choice("quantization", quantization, QUANTIZATIONS),
        quantization_params=None
        if quantization_params is None
        else _quantization_params(quantization_params),
        on_disk_vectors=on_disk_vectors,
        on_disk_payload=on_disk_payload,
        replication_factor=replication_factor,
        write_consistency_factor=write_consistency_factor,
        optimizers=None
        if optimizers is None
        else message(
            collection_pb2.OptimizersConfig,
            "optimizers: {}".format,
            **_known(optimizers, _OPTIMIZERS, "optimizers"),
        ),
    )


def get_collection(name: str) -> collection_pb2.GetCollectionRequest:
    """Describes a collection, given by name or alias."""
    return message(collection_pb2.GetCollectionRequest, name=name)


def list_collections() -> collection_pb2.ListCollectionsRequest:
    """All collections, by name."""
    return collection_pb2.ListCollectionsRequest()


def delete_collection(name: str) -> collection_pb2.DeleteCollectionRequest:
    """Deletes a collection, its points, and the aliases that point at it."""
    return message(collection_pb2.DeleteCollectionRequest, name=name)


def update_alias(alias: str, collection: str | None) -> collection_pb2.UpdateAliasRequest:
    """Points an alias at a collection, or removes it (None). Returns where it pointed ("" = nowhere)."""
    return message(collection_pb2.UpdateAliasRequest, alias=alias, collection=collection or "")


def set_successor(collection: str, successor: str | None) -> collection_pb2.SetSuccessorRequest:
    """Lets `successor` get every write to the collection too, encoded by its own model (None = no more).

    Returns the seconds until other replicas of the service are sure to do so (0 without a Qdrant server).
    """
    return message(collection_pb2.SetSuccessorRequest, collection=collection, successor=successor or "")


def create_payload_index(
    collection: str, field: str, type: PayloadIndex
) -> collection_pb2.CreatePayloadIndexRequest:
    """Makes filters on a payload field fast."""
    return message(
        collection_pb2.CreatePayloadIndexRequest, collection=collection, index=_payload_index(field, type)
    )


def delete_payload_index(collection: str, field: str) -> collection_pb2.DeletePayloadIndexRequest:
    """Removes a payload index; nothing happens if the field has none."""
    return message(
        collection_pb2.DeletePayloadIndexRequest, collection=collection, field=inputs.string(field, "field")
    )


def _quantization_params(given: Mapping[str, Any]) -> collection_pb2.QuantizationParams:
    params = _known(given, _QUANTIZATION_PARAMS, "quantization_params")
    for name, words in (("encoding", ENCODINGS), ("query_encoding", QUERY_ENCODINGS)):
        if name in params:
            params[name] = choice(f"quantization_params: {name}", params[name], words)
    return message(collection_pb2.QuantizationParams, "quantization_params: {}".format, **params)


def _known(given: Mapping[str, Any], names: Collection[str], argument: str) -> dict[str, Any]:
    for name in given:
        if name not in names:
            raise ArgumentError(f"{argument}: {name!r} is none of {', '.join(names)}")
    return dict(given)


def _payload_index(field: str, index: PayloadIndex) -> collection_pb2.PayloadIndex:
    proto = collection_pb2.PayloadIndex(field=inputs.string(field, "field"))
    where = f"payload index {field!r}"
    if not isinstance(index, TextIndex):
        proto.type = choice(where, index, INDEX_TYPES)
        proto.is_tenant = index == "tenant"
        return proto
    proto.type = INDEX_TYPES["text"]
    languages = inputs.strings(
        index.stopword_languages, f"{where}: stopword_languages", "languages", ordered=False
    )
    words = inputs.strings(index.stopwords, f"{where}: stopwords", "words", ordered=False)
    params = message(
        collection_pb2.TextIndexParams,
        lambda name: f"{where}: {name}",
        tokenizer=choice(f"{where}: tokenizer", index.tokenizer, TOKENIZERS),
        lowercase=index.lowercase,
        min_token_len=index.min_token_len,
        max_token_len=index.max_token_len,
        stemmer=index.stemmer,
        stopwords=collection_pb2.Stopwords(languages=languages, custom=words),
        phrase_matching=index.phrase_matching,
    )
    proto.text.CopyFrom(params)
    return proto
