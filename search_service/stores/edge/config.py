"""A collection's settings in Qdrant Edge's terms."""

from __future__ import annotations

import qdrant_edge as qe

from search_service.stores.protocol import SIDES, BinaryEncoding, BinaryQueryEncoding, CollectionSpec

_BYTES_A_NUMBER = 4
# The engine's defaults; they cannot be left out when another setting of HNSW is given.
_M = 16
_EF_CONSTRUCT = 100
_FULL_SCAN_KB = 10_000

_ENCODINGS: dict[BinaryEncoding, qe.BinaryQuantizationEncoding] = {
    "one_bit": qe.BinaryQuantizationEncoding.OneBit,
    "one_and_half_bits": qe.BinaryQuantizationEncoding.OneAndHalfBits,
    "two_bits": qe.BinaryQuantizationEncoding.TwoBits,
}
_QUERY_ENCODINGS: dict[BinaryQueryEncoding, qe.BinaryQuantizationQueryEncoding] = {
    "default": qe.BinaryQuantizationQueryEncoding.Default,
    "binary": qe.BinaryQuantizationQueryEncoding.Binary,
    "scalar4bits": qe.BinaryQuantizationQueryEncoding.Scalar4Bits,
    "scalar8bits": qe.BinaryQuantizationQueryEncoding.Scalar8Bits,
}
_COMPRESSIONS = {
    4: qe.CompressionRatio.X4,
    8: qe.CompressionRatio.X8,
    16: qe.CompressionRatio.X16,
    32: qe.CompressionRatio.X32,
    64: qe.CompressionRatio.X64,
}
_TURBO_BITS = {
    1.0: qe.TurboQuantBitSize.Bits1,
    1.5: qe.TurboQuantBitSize.Bits1_5,
    2.0: qe.TurboQuantBitSize.Bits2,
    4.0: qe.TurboQuantBitSize.Bits4,
    8.0: qe.TurboQuantBitSize.Bits8,
}


def engine_config(spec: CollectionSpec, index_threshold: int) -> qe.EdgeConfig:
    """The shard's settings. `index_threshold`: vectors of a segment worth an HNSW graph."""
    params = qe.EdgeVectorParams(spec.dimension, qe.Distance.Cosine, memory=_memory(spec.on_disk_vectors))
    # The engine weighs each segment by itself and may split the points over several.
    threshold_kb = max(1, index_threshold * spec.dimension * _BYTES_A_NUMBER // 1024 // 4)
    return qe.EdgeConfig(
        vectors=dict.fromkeys(SIDES, params),
        hnsw_config=qe.HnswIndexConfig(
            spec.hnsw_m or _M,
            spec.hnsw_ef_construct or _EF_CONSTRUCT,
            spec.hnsw_full_scan_threshold_kb or _FULL_SCAN_KB,
            memory=_memory(spec.hnsw_on_disk),
        ),
        quantization_config=_quantization(spec),
        optimizers=qe.EdgeOptimizersConfig(indexing_threshold=threshold_kb),
        payload_memory=qe.Memory.Cold if spec.on_disk_payload else qe.Memory.Cached,
    )


def _memory(on_disk: bool) -> qe.Memory | None:
    """Cold: read from disk when needed. None: the engine's default, which is to have it in memory."""
    return qe.Memory.Cold if on_disk else None


def _quantization(spec: CollectionSpec) -> qe.QuantizationConfigType | None:
    params = spec.quantization_params
    # What need not be in memory lies where the vectors lie.
    memory = qe.Memory.Pinned if params.always_ram else _memory(spec.on_disk_vectors)
    match spec.quantization:
        case "scalar":
            return qe.ScalarQuantizationConfig(
                qe.ScalarType.Int8, quantile=params.quantile or None, memory=memory
            )
        case "binary":
            return qe.BinaryQuantizationConfig(
                encoding=_ENCODINGS[params.encoding],
                query_encoding=_QUERY_ENCODINGS[params.query_encoding],
                memory=memory,
            )
        case "product":
            return qe.ProductQuantizationConfig(_COMPRESSIONS[params.compression], memory=memory)
        case "turbo":
            bits = _TURBO_BITS[params.bits] if params.bits else None
            return qe.TurboQuantQuantizationConfig(bits=bits, memory=memory)
    return None
