"""Arrays and JSON as they travel, both ways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf import struct_pb2

from clipsearch.client.inputs import VectorLike
from clipsearch.client.plain import plain
from clipsearch.client.types import Vector
from clipsearch.encoder.v1 import vector_pb2


def vector(numbers: VectorLike) -> vector_pb2.Vector:
    """A vector as it travels. Raises ValueError unless it has one dimension."""
    return vector_pb2.Vector(f32=f32(numbers))


def f32(numbers: VectorLike) -> bytes:
    """Numbers as little-endian float32. Raises ValueError unless they have one dimension."""
    array = np.asarray(numbers, dtype="<f4")
    if array.ndim != 1:
        raise ValueError(f"vector: must have one dimension, its shape is {array.shape}")
    return array.tobytes()


def array(vector: vector_pb2.Vector) -> Vector:
    """A vector as float32 [dimension]."""
    if vector.f32:
        return np.frombuffer(vector.f32, dtype="<f4").astype(np.float32)
    return np.array(vector.values, dtype=np.float32)


def fill_struct(struct: struct_pb2.Struct, payload: Mapping[str, Any], where: str) -> None:
    """Puts a payload into an empty Struct.

    Raises ValueError, with the path of the key, for what is not JSON, means nothing that is, or would
    not come back the same.
    """
    if not isinstance(payload, Mapping):
        raise ValueError(f"{where}: must be a dict, is of type {type(payload).__name__}")
    struct.update(plain(payload, where))


def payload(struct: struct_pb2.Struct) -> dict[str, Any]:
    """A Struct as a dict. Its numbers are float64; those without a fraction become int again."""
    return {key: _json(value) for key, value in struct.fields.items()}


def _json(value: struct_pb2.Value) -> Any:
    match value.WhichOneof("kind"):
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() else number
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return payload(value.struct_value)
        case "list_value":
            return [_json(item) for item in value.list_value.values]
        case _:
            return None
