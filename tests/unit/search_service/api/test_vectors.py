"""Vectors on the wire and as arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clipsearch.encoder.v1 import vector_pb2
from clipsearch.serving.errors import InvalidArgument
from search_service.api.point_proto import read_vector, write_vector

F32 = vector_pb2.VECTOR_FORMAT_F32_BYTES
FLOATS = vector_pb2.VECTOR_FORMAT_FLOATS

finite = arrays(
    np.float32,
    st.integers(1, 64),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
).filter(np.any)


@given(finite, st.sampled_from([F32, FLOATS]))
def test_any_direction_is_read_at_length_one_and_kept(numbers, format):
    vector = read_vector(write_vector(numbers, format), "v")
    assert vector.dtype == np.float32
    assert np.linalg.norm(vector.astype(np.float64)) == pytest.approx(1, abs=1e-6)
    exact = numbers.astype(np.float64)
    assert vector @ (exact / np.linalg.norm(exact)) == pytest.approx(1, abs=1e-5)


@given(finite)
def test_what_has_length_one_is_kept_bit_for_bit(numbers):
    once = read_vector(write_vector(numbers, F32), "v")
    assert read_vector(write_vector(once, F32), "v").tobytes() == once.tobytes()


def test_both_encodings_hold_the_same_numbers():
    numbers = np.array([0.25, -1.5, 3.0], np.float32)
    assert write_vector(numbers, FLOATS).values == [0.25, -1.5, 3.0]
    assert write_vector(numbers, F32).f32 == numbers.astype("<f4").tobytes()
    assert write_vector(numbers, vector_pb2.VECTOR_FORMAT_UNSPECIFIED).values == [0.25, -1.5, 3.0]


@pytest.mark.parametrize(
    ("proto", "field", "reason"),
    [
        (vector_pb2.Vector(), "v", "VECTOR_INVALID"),
        (vector_pb2.Vector(values=[1], f32=b"\0\0\0\0"), "v", "VECTOR_INVALID"),
        (vector_pb2.Vector(f32=b"\0\0\0\0\0"), "v.f32", "VECTOR_INVALID"),
        (vector_pb2.Vector(values=[1, float("nan")]), "v.values[1]", "VECTOR_NOT_FINITE"),
        (vector_pb2.Vector(values=[1, 2, float("-inf")]), "v.values[2]", "VECTOR_NOT_FINITE"),
        (vector_pb2.Vector(values=[0, 0, 0]), "v.values", "VECTOR_ZERO"),
        (vector_pb2.Vector(f32=bytes(12)), "v.f32", "VECTOR_ZERO"),
    ],
)
def test_what_has_no_direction_is_refused(proto, field, reason):
    with pytest.raises(InvalidArgument) as caught:
        read_vector(proto, "v")
    assert (caught.value.field, caught.value.reason) == (field, reason)
