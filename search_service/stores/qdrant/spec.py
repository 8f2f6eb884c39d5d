"""A collection's settings as a Qdrant server keeps them: in its own terms, and in our metadata."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from qdrant_client import models

from search_service.stores.protocol import VECTOR_NAMES, CollectionSpec, IndexType

# Our keys in a collection's metadata. The server merges keys, so each fact that changes has one of its own.
_METADATA = "clipsearch"
_SUCCESSOR = "clipsearch_successor"
_INDEX = "clipsearch_index."
_CALIBRATION = "clipsearch_calibration"

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
        "vectors_config": dict.fromkeys(VECTOR_NAMES, params),
        "hnsw_config": models.HnswConfigDiff(
            m=spec.hnsw_m or None,
            ef_construct=spec.hnsw_ef_construct or None,
            full_scan_threshold=spec.hnsw_full_scan_threshold_kb or None,
            on_disk=spec.hnsw_on_disk,
        ),
        "quantization_config": _quantization(spec),
        "on_disk_payload": spec.on_disk_payload,
        # None leaves it to the server, whose defaults an operator may have set for the cluster.
        "shard_number": spec.shard_number or None,
        "replication_factor": spec.replication_factor or None,
        "write_consistency_factor": spec.write_consistency_factor or None,
        "metadata": metadata(spec),
    }


def metadata(spec: CollectionSpec) -> dict[str, Any]:
    """What `read_spec` reads again.

    What a server tells otherwise under another name (a restored snapshot) or of a later moment (an
    index that was added, the successor) is not kept here, or under a key of its own.
    """
    kept = dataclasses.asdict(spec)
    for name in ("name", "successor"):
        del kept[name]
    return {_METADATA: kept}


def successor_metadata(successor: str) -> dict[str, Any]:
    """The link to the successor, "" = none."""
    return {_SUCCESSOR: successor}


def index_metadata(key: str, type: IndexType) -> dict[str, Any]:
    """A payload index that was added later."""
    return {f"{_INDEX}{key}": type}


def calibration_metadata(calibration: Mapping[str, Any]) -> dict[str, Any]:
    """What searches are calibrated by."""
    return {_CALIBRATION: dict(calibration)}


def read_calibration(described: models.CollectionInfo) -> Mapping[str, Any] | None:
    """The same read again; None if there is none."""
    kept: Mapping[str, Any] | None = (described.config.metadata or {}).get(_CALIBRATION)
    return kept


def read_spec(name: str, described: models.CollectionInfo) -> CollectionSpec | None:
    """The collection's settings as they are; None if clipsearch did not make it."""
    kept = described.config.metadata or {}
    made = kept.get(_METADATA)
    if made is None:
        return None
    params = described.config.params
    spec = CollectionSpec.of({**made, "name": name})
    return dataclasses.replace(
        spec,
        payload_indexes=_indexes(spec.payload_indexes, kept, described.payload_schema or {}),
        shard_number=params.shard_number or spec.shard_number,
        replication_factor=params.replication_factor or spec.replication_factor,
        write_consistency_factor=params.write_consistency_factor or spec.write_consistency_factor,
        successor=kept.get(_SUCCESSOR, spec.successor),
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What the collection's strict mode permits, None = anything. Timeouts are in seconds."""

    timeout: int | None = None
    results: int | None = None  # of a query, or a page
    allows_exact: bool = True

    def permitted(self, seconds: int) -> int:
        """A timeout that passes."""
        return seconds if self.timeout is None else min(seconds, self.timeout)


def read_limits(described: models.CollectionInfo) -> Limits:
    """The limits of the collection's strict mode."""
    strict = described.config.strict_mode_config
    if strict is None or not strict.enabled:
        return Limits()
    return Limits(strict.max_timeout, strict.max_query_limit, strict.search_allow_exact is not False)


def _indexes(
    made: Mapping[str, IndexType],
    kept: Mapping[str, Any],
    schema: Mapping[str, models.PayloadIndexInfo],
) -> dict[str, IndexType]:
    """Those that the collection was made with, those added by clipsearch, and those that the server has."""
    added = {key.removeprefix(_INDEX): type for key, type in kept.items() if key.startswith(_INDEX)}
    there = {key: info.data_type.value for key, info in schema.items()}
    return {key: type for key, type in {**made, **added, **there}.items() if type in INDEX_SCHEMAS}


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
