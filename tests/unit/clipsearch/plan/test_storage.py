"""Bytes by Qdrant's formulas, computed by hand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clipsearch.plan.storage import Quantization, Stored


def stored(quantization: Quantization = "none", vectors: int = 1_000_000, dimension: int = 1024) -> Stored:
    return Stored(vectors, vectors, dimension, 100, quantization)


def test_memory_is_what_qdrants_own_example_says() -> None:
    # Capacity Planning: 1,000,000 vectors of 1024 dimensions take about 6,144,000,000 bytes.
    assert stored().memory_bytes == 6_144_000_000


@given(st.integers(1, 10**10), st.integers(2, 4096))
def test_quantisation_saves_memory_and_costs_disk(vectors: int, dimension: int) -> None:
    none, scalar, binary = (stored(kind, vectors, dimension) for kind in ("none", "scalar", "binary"))
    assert binary.memory_bytes <= scalar.memory_bytes
    assert none.disk_bytes <= binary.disk_bytes <= scalar.disk_bytes
    if dimension >= 128:
        assert scalar.memory_bytes < none.memory_bytes
