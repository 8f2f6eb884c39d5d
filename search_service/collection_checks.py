"""What a new collection may be made with, and which vectors belong into a collection."""

from __future__ import annotations

from clipsearch.serving.errors import FailedPrecondition, FingerprintMismatch, InvalidArgument
from search_service.stores.protocol import CollectionSpec, QuantizationParams, Vector

_MAX_DIMENSION = 65_535
_MAX_FINGERPRINT = 256
_M = range(4, 257)
_EF_CONSTRUCT = range(4, 4097)
_FULL_SCAN_KB = range(10, 100_000_001)
_COMPRESSIONS = (4, 8, 16, 32, 64)
_TURBO_BITS = (1.0, 1.5, 2.0, 4.0, 8.0)
# A server would try to make millions of them.
_MAX_SHARDS = 1024
_MAX_REPLICAS = 64


def check_spec(spec: CollectionSpec) -> None:
    """Raises InvalidArgument for settings that no store would take."""
    if bool(spec.dimension) != bool(spec.fingerprint):
        raise InvalidArgument(
            "fingerprint" if spec.dimension else "dimension",
            "missing; dimension and fingerprint are set together (for ready vectors) or not at all",
        )
    if spec.dimension and spec.model:
        raise InvalidArgument("model", "set together with dimension; a collection of ready vectors has none")
    if spec.dimension > _MAX_DIMENSION:
        raise InvalidArgument("dimension", f"{spec.dimension}, at most {_MAX_DIMENSION}")
    if len(spec.fingerprint) > _MAX_FINGERPRINT:
        raise InvalidArgument(
            "fingerprint", f"{len(spec.fingerprint)} characters, at most {_MAX_FINGERPRINT}"
        )
    _check_range("hnsw.m", spec.hnsw_m, _M)
    _check_range("hnsw.ef_construct", spec.hnsw_ef_construct, _EF_CONSTRUCT)
    _check_range("hnsw.full_scan_threshold_kb", spec.hnsw_full_scan_threshold_kb, _FULL_SCAN_KB)
    _check_quantization(spec.quantization_params)
    if spec.shard_number > _MAX_SHARDS:
        raise InvalidArgument("shard_number", f"{spec.shard_number}, at most {_MAX_SHARDS}")
    if spec.replication_factor > _MAX_REPLICAS:
        raise InvalidArgument("replication_factor", f"{spec.replication_factor}, at most {_MAX_REPLICAS}")
    if spec.replication_factor and spec.write_consistency_factor > spec.replication_factor:
        raise InvalidArgument(
            "write_consistency_factor",
            f"{spec.write_consistency_factor} replicas must acknowledge, there are {spec.replication_factor}",
        )


def check_fingerprint(spec: CollectionSpec, fingerprint: str, whose: str) -> None:
    """Raises FingerprintMismatch unless vectors of `fingerprint` belong into the collection."""
    if fingerprint != spec.fingerprint:
        raise FingerprintMismatch(spec.name, spec.fingerprint, fingerprint, whose)


def check_dimension(vector: Vector, spec: CollectionSpec, path: str) -> None:
    """Raises FailedPrecondition unless the vector fits the collection."""
    if len(vector) != spec.dimension:
        raise FailedPrecondition(
            f"{path}: has {len(vector)} numbers, those of collection {spec.name!r} have {spec.dimension}",
            "DIMENSION_MISMATCH",
            {
                "field": path,
                "collection": spec.name,
                "collection_dimension": str(spec.dimension),
                "request_dimension": str(len(vector)),
            },
        )


def _check_range(field: str, value: int, allowed: range) -> None:
    if value and value not in allowed:
        raise InvalidArgument(
            field, f"{value}; {allowed.start} to {allowed.stop - 1}, or 0 for the engine's default"
        )


def _check_quantization(params: QuantizationParams) -> None:
    if params.quantile and not 0.5 <= params.quantile <= 1:  # NaN is not either
        raise InvalidArgument(
            "quantization_params.quantile", f"{params.quantile}; 0.5 to 1, or 0 for the engine's default"
        )
    for name, value, choices in (
        ("compression", params.compression, _COMPRESSIONS),
        ("bits", params.bits, _TURBO_BITS),
    ):
        if value and value not in choices:
            raise InvalidArgument(
                f"quantization_params.{name}", f"{value:g} is none of {', '.join(f'{c:g}' for c in choices)}"
            )
