"""Bytes by Qdrant's formulas, computed by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsearch.plan.storage import Quantization, Stored


def stored(quantization: Quantization = "none", vectors: int = 1_000_000, dimension: int = 1024) -> Stored:
    return Stored(vectors, vectors, dimension, 100, quantization)


def test_memory_is_what_qdrants_own_example_says() -> None:
    # Capacity Planning: 1,000,000 vectors of 1024 dimensions take about 6,144,000,000 bytes.
    assert stored().memory_bytes == 6_144_000_000


def test_links_are_two_m_and_the_upper_levels() -> None:
    # (32 + 16 / ln 16) * 4 bytes = 151.08 bytes a vector
    assert stored().link_bytes == pytest.approx(151.08e6, rel=1e-4)


def test_an_int8_copy_takes_a_byte_a_dimension_and_leaves_float32_on_disk() -> None:
    scalar = stored("scalar")
    assert scalar.quantized_bytes == 1_024_000_000
    assert scalar.memory_bytes == pytest.approx(1.5 * (1024e6 + 151.08e6 + 40e6), rel=1e-4)
    assert scalar.disk_bytes == pytest.approx(2 * (4096e6 + 1024e6 + 151.08e6 + 140e6), rel=1e-4)


def test_a_bit_copy_takes_an_eighth_of_that() -> None:
    assert stored("binary").quantized_bytes == 128_000_000


@given(st.integers(1, 10**10), st.integers(2, 4096))
def test_quantisation_saves_memory_and_costs_disk(vectors: int, dimension: int) -> None:
    none, scalar, binary = (stored(kind, vectors, dimension) for kind in ("none", "scalar", "binary"))
    assert binary.memory_bytes <= scalar.memory_bytes
    assert none.disk_bytes <= binary.disk_bytes <= scalar.disk_bytes
    if dimension >= 128:
        assert scalar.memory_bytes < none.memory_bytes
