"""Bytes: what vectors, their index and their payload take in memory and on disk, as Qdrant documents it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Quantization = Literal["none", "scalar", "binary"]

HNSW_M = 16  # Qdrant's default, and this project's
# "number_of_vectors * vector_dimension * 4 bytes * 1.5": indexes, versions and segments that an optimiser
# rewrites (Qdrant, Capacity Planning).
QDRANT_OVERHEAD = 1.5
# Bytes a dimension of the copy that is kept in memory (Qdrant, Quantization): int8, and one bit.
QUANTIZED_BYTES: dict[Quantization, float] = {"scalar": 1.0, "binary": 1 / 8}
# A segment that is rewritten and a snapshot each need room beside what they copy.
DISK_HEADROOM = 2.0
# Id, version and offset of a point: a UUID of 16 bytes and three numbers of 8.
POINT_BYTES = 40


@dataclass(frozen=True, slots=True)
class Stored:
    """What is stored, once: `vectors` of `dimension` float32 numbers on `points` with a payload each."""

    points: int
    vectors: int
    dimension: int
    payload_bytes: int
    quantization: Quantization = "none"

    @property
    def vector_bytes(self) -> int:
        """The vectors as they came."""
        return self.vectors * self.dimension * 4

    @property
    def link_bytes(self) -> int:
        """HNSW's links: (2m + m / ln m) of 4 bytes a vector (Malkov and Yashunin 2016, section 4.2.3)."""
        return round(self.vectors * (2 * HNSW_M + HNSW_M / math.log(HNSW_M)) * 4)

    @property
    def quantized_bytes(self) -> int:
        """The compressed copy; 0 without quantisation."""
        return round(self.vectors * self.dimension * QUANTIZED_BYTES.get(self.quantization, 0))

    @property
    def memory_bytes(self) -> int:
        """Of one copy of everything. With quantisation the float32 vectors stay on disk."""
        if self.quantization == "none":
            return round(self.vector_bytes * QDRANT_OVERHEAD)
        kept = self.quantized_bytes + self.link_bytes + self.points * POINT_BYTES
        return round(kept * QDRANT_OVERHEAD)

    @property
    def disk_bytes(self) -> int:
        """Of one copy of everything, with room to rewrite and to take a snapshot."""
        kept = self.vector_bytes + self.quantized_bytes + self.link_bytes
        kept += self.points * (POINT_BYTES + self.payload_bytes)
        return round(kept * DISK_HEADROOM)
