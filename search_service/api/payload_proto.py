"""Payloads: google.protobuf.Struct to JSON values and back.

A Struct holds every number as float64. Those without a fraction and within +-2**53 become int, so
that integer matches and integer indexes find them; on the way back they are float64 again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from google.protobuf import struct_pb2

from clipsearch.filters.paths import keys, quoted
from clipsearch.search.v1 import search_pb2
from clipsearch.serving.errors import InvalidArgument
from search_service.api.checks import check_count, check_path
from search_service.settings import MAX_INCLUDED, SearchSettings
from search_service.stores.protocol import RESERVED_PREFIX, PayloadChange

_EXACT_INTEGER = 2.0**53


def read_payload(struct: struct_pb2.Struct, field: str, max_bytes: int) -> dict[str, Any]:
    """The payload as JSON values. Raises InvalidArgument if it is too large, not JSON, or reserved."""
    size = struct.ByteSize()
    if size > max_bytes:
        raise InvalidArgument(field, f"{size} bytes, at most {max_bytes}", "PAYLOAD_TOO_LARGE")
    for key in struct.fields:
        if key.startswith(RESERVED_PREFIX):
            raise InvalidArgument(
                field,
                f"key {key!r} starts with {RESERVED_PREFIX!r}, which is the service's own",
                "KEY_RESERVED",
            )
    return {key: _read(value, field, key) for key, value in struct.fields.items()}


def write_payload(payload: Mapping[str, Any]) -> struct_pb2.Struct:
    """The payload as it travels."""
    struct = struct_pb2.Struct()
    struct.update(dict(payload))
    return struct


def read_change(request: search_pb2.UpdatePayloadRequest, limits: SearchSettings) -> PayloadChange:
    """What is to become of payloads. Raises InvalidArgument."""
    fields = read_payload(request.set, "set", limits.max_payload_bytes)
    check_count("delete", len(request.delete), MAX_INCLUDED, least=0)
    paths = tuple(_check_names(key, f"delete[{i}]") for i, key in enumerate(request.delete))
    if request.overwrite and paths:
        raise InvalidArgument("delete", "given together with overwrite, after which no other field stays")
    if not (fields or paths or request.overwrite):
        raise InvalidArgument("set", "empty, as delete is, and without overwrite: nothing would change")
    if request.overwrite:
        return PayloadChange(fields, whole=True)
    given = {name: value for name, value in fields.items() if value is not None}
    return PayloadChange(given, (*paths, *(_path_of(name) for name in fields.keys() - given.keys())))


def _path_of(name: str) -> str:
    path = quoted(name)
    if path is None:
        raise InvalidArgument(f"set.{name}", "must not be null: a field of this name cannot be removed")
    return path


def _check_names(path: str, field: str) -> str:
    if any(isinstance(key, int) for key in keys(check_path(path, field))):
        raise InvalidArgument(field, f"{path!r} leads into a list; only fields can be removed", "KEY_INVALID")
    return path


def _read(value: struct_pb2.Value, field: str, key: str) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "number_value":
        return _number(value.number_value, field, key)
    if kind == "bool_value":
        return value.bool_value
    if kind == "list_value":
        return [_read(item, field, f"{key}[{i}]") for i, item in enumerate(value.list_value.values)]
    if kind == "struct_value":
        return {name: _read(item, field, f"{key}.{name}") for name, item in value.struct_value.fields.items()}
    return None


def _number(number: float, field: str, key: str) -> int | float:
    if not math.isfinite(number):
        raise InvalidArgument(f"{field}.{key}", f"must be finite, is {number}; JSON has no such number")
    if number.is_integer() and abs(number) <= _EXACT_INTEGER:
        return int(number)
    return number
