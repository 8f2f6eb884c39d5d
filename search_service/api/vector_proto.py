"""Vectors as they travel, and as numpy arrays: float32 of length 1."""

from __future__ import annotations

import math

import numpy as np

from clipsearch.encoder.v1 import vector_pb2
from clipsearch.serving.errors import InvalidArgument
from search_service.stores.protocol import Vector

_FLOAT32_BYTES = 4
# Lengths outside have squares that float32 cannot hold, or not exactly.
_SHORT, _LONG = 1e-15, 1e15


def read_vector(proto: vector_pb2.Vector, field: str) -> Vector:
    """The vector, float32 [dimension], normalised. Raises InvalidArgument if it has no direction."""
    if proto.f32 and proto.values:
        raise InvalidArgument(
            field, "holds values and f32; exactly one of them must be filled", "VECTOR_INVALID"
        )
    if proto.f32:
        if len(proto.f32) % _FLOAT32_BYTES:
            raise InvalidArgument(
                f"{field}.f32",
                f"{len(proto.f32)} bytes; float32 numbers have a multiple of {_FLOAT32_BYTES}",
                "VECTOR_INVALID",
            )
        return normalised(np.frombuffer(proto.f32, dtype="<f4"), f"{field}.f32")
    if proto.values:
        return normalised(np.array(proto.values, dtype=np.float32), f"{field}.values")
    raise InvalidArgument(field, "empty; either values or f32 must be filled", "VECTOR_INVALID")


def write_vector(vector: Vector, format: vector_pb2.VectorFormat.ValueType) -> vector_pb2.Vector:
    """The vector as it travels."""
    if format == vector_pb2.VECTOR_FORMAT_F32_BYTES:
        return vector_pb2.Vector(f32=vector.astype("<f4", copy=False).tobytes())
    return vector_pb2.Vector(values=vector.tolist())  # the array itself takes 5 times as long


def normalised(array: Vector, field: str) -> Vector:
    """`array` at length 1. Raises InvalidArgument, naming `field`, for NaN, infinity and zero."""
    with np.errstate(over="ignore", invalid="ignore"):
        length = math.sqrt(float(array @ array))
    if not _SHORT < length < _LONG:
        return _normalised_exactly(array, field)
    return array / np.float32(length)


def _normalised_exactly(array: Vector, field: str) -> Vector:
    wide = array.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(wide))
    if bad.size:
        raise InvalidArgument(
            f"{field}[{bad[0]}]", f"must be finite, is {array[bad[0]]}", "VECTOR_NOT_FINITE"
        )
    length = float(np.linalg.norm(wide))
    if length == 0:
        raise InvalidArgument(field, "all its numbers are 0; such a vector has no direction", "VECTOR_ZERO")
    return (wide / length).astype(np.float32)
