"""Payloads as they travel.

A Struct holds every number as float64. Those without a fraction and within +-2**53 become int, so
that integer matches and integer indexes find them; on the way back they are float64 again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from google.protobuf import struct_pb2

from clipsearch.serving.errors import InvalidArgument
from search_service.stores.protocol import RESERVED_PREFIX

_EXACT_INTEGER = 2.0**53
# Protobuf decodes 100 messages inside one another, and an object is three. Hits lie deeper in the answer to a
# batch than points in an Upsert: 32 objects could be written, and not be read there. The payload itself is
# one of them, as it is for our client: what is stored can be restored and moved.
_MOST_DEEP = 30


def read_payload(struct: struct_pb2.Struct, field: str, max_bytes: int) -> dict[str, Any]:
    """The payload as JSON values. Raises InvalidArgument if it is too large, not JSON, or reserved."""
    size = struct.ByteSize()
    if size > max_bytes:
        raise InvalidArgument(field, f"{size} bytes, at most {max_bytes}", "PAYLOAD_TOO_LARGE")
    fields = struct.fields
    payload = {}
    for key in fields:
        if key.startswith(RESERVED_PREFIX):
            raise InvalidArgument(
                field,
                f"key {key!r} starts with {RESERVED_PREFIX!r}, which is the service's own",
                "KEY_RESERVED",
            )
        payload[key] = _read_value(fields[key], field, key, 1)
    return payload


def write_payload(payload: Mapping[str, Any]) -> struct_pb2.Struct:
    """The payload as it travels."""
    struct = struct_pb2.Struct()
    struct.update(dict(payload))
    return struct


def _read_value(value: struct_pb2.Value, field: str, key: str, depth: int) -> Any:
    """The value, which lies in so many lists and objects."""
    kind = value.WhichOneof("kind")
    if depth >= _MOST_DEEP and kind in ("list_value", "struct_value"):
        raise InvalidArgument(field, f"more than {_MOST_DEEP} lists and objects inside one another")
    match kind:
        case "string_value":
            return value.string_value
        case "number_value":
            return _read_number(value.number_value, field, key)
        case "bool_value":
            return value.bool_value
        case "list_value":
            values = value.list_value.values
            return [_read_value(one, field, f"{key}[{i}]", depth + 1) for i, one in enumerate(values)]
        case "struct_value":
            fields = value.struct_value.fields
            return {name: _read_value(one, field, f"{key}.{name}", depth + 1) for name, one in fields.items()}
    return None


def _read_number(number: float, field: str, key: str) -> int | float:
    if not math.isfinite(number):
        raise InvalidArgument(f"{field}.{key}", f"must be finite, is {number}; JSON has no such number")
    return int(number) if number.is_integer() and abs(number) <= _EXACT_INTEGER else number
