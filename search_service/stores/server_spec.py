"""A collection's settings as a Qdrant server keeps them: in its own terms, and in our metadata."""

from __future__ import annotations

import dataclasses
from typing import Any

from qdrant_client import models

from search_service.stores.protocol import SIDES, CollectionSpec, IndexType

_METADATA = "clipsearch"

INDEX_SCHEMAS: dict[IndexType, Any] = {
    "keyword": models.PayloadSchemaType.KEYWORD,
    "integer": models.PayloadSchemaType.INTEGER,
    "float": models.PayloadSchemaType.FLOAT,
    "bool": models.PayloadSchemaType.BOOL,
    "datetime": models.PayloadSchemaType.DATETIME,
    "text": models.TextIndexParams(
        type=models.TextIndexType.TEXT, tokenizer=models.TokenizerType.WORD, lowercase=True
    ),
}

_TURBO_BITS = {
    1.0: models.TurboQuantBitSize.BITS1,
    1.5: models.TurboQuantBitSize.BITS1_5,
    2.0: models.TurboQuantBitSize.BITS2,
    4.0: models.TurboQuantBitSize.BITS4,
    8.0: models.TurboQuantBitSize.BITS8,
}


def creation(spec: CollectionSpec) -> dict[str, Any]:
    """The arguments of `create_collection`."""
    params = models.VectorParams(
        size=spec.dimension, distance=models.Distance.COSINE, on_disk=spec.on_disk_vectors
    )
    return {
        "vectors_config": dict.fromkeys(SIDES, params),
        "hnsw_config": models.HnswConfigDiff(
            m=spec.hnsw_m or None,
            ef_construct=spec.hnsw_ef_construct or None,
            full_scan_threshold=spec.hnsw_full_scan_threshold_kb or None,
            on_disk=spec.hnsw_on_disk,
        ),
        "quantization_config": _quantization(spec),
        "on_disk_payload": spec.on_disk_payload,
        "shard_number": spec.shard_number,
        "replication_factor": spec.replication_factor,
        "write_consistency_factor": spec.write_consistency_factor,
        "metadata": metadata(spec),
    }


def metadata(spec: CollectionSpec) -> dict[str, Any]:
    """What `read_spec` reads again."""
    return {_METADATA: dataclasses.asdict(spec)}


def read_spec(described: models.CollectionInfo) -> CollectionSpec | None:
    """The settings that the collection was made with; None if clipsearch did not make it."""
    kept = (described.config.metadata or {}).get(_METADATA)
    return None if kept is None else CollectionSpec.of(kept)


def _quantization(spec: CollectionSpec) -> models.QuantizationConfig | None:
    params = spec.quantization_params
    match spec.quantization:
        case "scalar":
            return models.ScalarQuantization(
                scalar=models.ScalarQuantizationConfig(
                    type=models.ScalarType.INT8,
                    quantile=params.quantile or None,
                    always_ram=params.always_ram,
                )
            )
        case "binary":
            return models.BinaryQuantization(
                binary=models.BinaryQuantizationConfig(
                    always_ram=params.always_ram,
                    encoding=models.BinaryQuantizationEncoding(params.encoding),
                    query_encoding=models.BinaryQuantizationQueryEncoding(params.query_encoding),
                )
            )
        case "product":
            return models.ProductQuantization(
                product=models.ProductQuantizationConfig(
                    compression=models.CompressionRatio(f"x{params.compression}"),
                    always_ram=params.always_ram,
                )
            )
        case "turbo":
            return models.TurboQuantization(
                turbo=models.TurboQuantQuantizationConfig(
                    always_ram=params.always_ram, bits=_TURBO_BITS[params.bits] if params.bits else None
                )
            )
    return None
