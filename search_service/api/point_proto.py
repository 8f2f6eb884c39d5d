"""Points as they travel, and what requests are made of: ids, paths, enums, vectors."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar, get_args

import numpy as np
from google.protobuf import struct_pb2, timestamp_pb2

from clipsearch.encoder.v1 import vector_pb2
from clipsearch.filters.paths import PATH, keys, quoted
from clipsearch.search.v1 import search_pb2
from clipsearch.serving.current_call import current_tenant
from clipsearch.serving.errors import InvalidArgument
from clipsearch.serving.security.tokens import Tenant
from search_service.api.payload_proto import read_payload, write_payload
from search_service.query.list_order import Order
from search_service.settings import MAX_INCLUDED, SearchSettings
from search_service.stores.protocol import (
    NO_PAYLOAD,
    RESERVED_PREFIX,
    VECTOR_NAMES,
    PayloadChange,
    PayloadSelection,
    StoredPoint,
    Vector,
    VectorName,
)
from search_service.stores.tenant import check_change, check_point, is_shared, prefix
from search_service.write.upsert import NewPoint

if TYPE_CHECKING:
    from google.protobuf.internal.enum_type_wrapper import _EnumTypeWrapper

VectorFormat: TypeAlias = "vector_pb2.VectorFormat.ValueType"
Name = TypeVar("Name", bound=str)
Number = TypeVar("Number", bound=int)

_MAX_PATH = 512  # characters
_FLOAT32_BYTES = 4
# Lengths outside have squares that float32 cannot hold, or not exactly.
_SHORT, _LONG = 1e-15, 1e15
# The engine leaves a vector as it is whose squared length is within 1e-6 of 1; what it has answered with
# must go back bit for bit. This is twice that, because it sums in another order.
_ROUNDING = 1e-6


class EnumNames(Generic[Name, Number]):
    """The names that an API's enum goes by here, in both directions.

    `names` is a Literal of them, and of those that the enum is `lacking`; `default`: that of its 0.
    """

    def __init__(
        self,
        names: Any,
        enum: _EnumTypeWrapper[Number],
        default: Name | None = None,
        lacking: Collection[Name] = (),
    ) -> None:
        """Raises ValueError unless every name has a member and every member a name."""
        (zero, _), *members = enum.items()
        prefix = zero.removesuffix("UNSPECIFIED")
        numbers = {name.removeprefix(prefix).replace("_", "").lower(): number for name, number in members}
        known: dict[str, Name] = {
            name.replace("_", ""): name for name in get_args(names) if name not in lacking
        }
        if odd := known.keys() ^ numbers.keys():
            raise ValueError(f"{prefix}...: {', '.join(sorted(odd))} on one side only")
        self.numbers: dict[Name, Number] = {name: numbers[key] for key, name in known.items()}
        self._names: dict[int, Name] = {number: name for name, number in self.numbers.items()}
        if default is not None:
            self._names[0] = default

    def name(self, number: int, field: str) -> Name:
        """The name of a request's number. Raises InvalidArgument."""
        if number not in self._names:
            raise InvalidArgument(
                field, f"{number} is none of this API's values; there are {', '.join(self.numbers)}"
            )
        return self._names[number]


def check_count(field: str, count: int, most: int, least: int = 1) -> None:
    """Raises InvalidArgument for too many or too few items."""
    if not least <= count <= most:
        allowed = f"{least} to {most} are allowed" if least else f"at most {most}"
        raise InvalidArgument(field, f"{count} given, {allowed}", "COUNT_OUT_OF_RANGE")


def check_id(point_id: str, field: str, limits: SearchSettings) -> str:
    """Returns `point_id` if it may be one. Raises InvalidArgument."""
    if not point_id:
        raise InvalidArgument(field, "empty", "ID_INVALID")
    size = len(point_id.encode())
    if size > limits.max_id_bytes:
        raise InvalidArgument(field, f"{size} bytes, at most {limits.max_id_bytes}", "ID_INVALID")
    return point_id


def check_ids(ids: Sequence[str], field: str, limits: SearchSettings) -> tuple[str, ...]:
    """Returns `ids` if each may be one and their number is allowed. Raises InvalidArgument."""
    check_count(field, len(ids), limits.max_ids)
    return tuple(check_id(id, f"{field}[{i}]", limits) for i, id in enumerate(ids))


def check_path(path: str, field: str) -> str:
    """Returns `path` if it is a path into a payload that callers may use. Raises InvalidArgument."""
    if not path:
        raise InvalidArgument(field, "empty; it must be the path of a payload field", "KEY_INVALID")
    if len(path) > _MAX_PATH:
        raise InvalidArgument(field, f"{len(path)} characters, at most {_MAX_PATH}", "KEY_INVALID")
    if not PATH.fullmatch(path):
        raise InvalidArgument(
            field,
            f"{path!r} is not a path of a payload field, such as price, shop.city, tags[] "
            'or, around other characters, "unit price"',
            "KEY_INVALID",
        )
    if path.lstrip('"').startswith(RESERVED_PREFIX):
        raise InvalidArgument(
            field, f"{path!r} starts with {RESERVED_PREFIX!r}, which is the service's own", "KEY_RESERVED"
        )
    return path


def check_format(format: VectorFormat) -> VectorFormat:
    """Returns `format` if it is one. Raises InvalidArgument."""
    if format not in vector_pb2.VectorFormat.values():
        raise InvalidArgument("vector_format", f"{format} is none of this API's formats")
    return format


def read_point(proto: search_pb2.Point, field: str, limits: SearchSettings) -> NewPoint | InvalidArgument:
    """The point at `field` (`points[3]`) of a request, or what is wrong with it."""
    try:
        id = check_id(proto.id, f"{field}.id", limits)
        image, text = _given(proto, "image", field), _given(proto, "text", field)
        if image is None and text is None:
            raise InvalidArgument(
                field, "has none of image, text, image_vector and text_vector; it needs one", "POINT_EMPTY"
            )
        payload = read_payload(proto.payload, f"{field}.payload", limits.max_payload_bytes)
        if (tenant := current_tenant()) is not None:
            check_point(tenant, id, payload, field)
            check_id(f"{prefix(tenant)}{id}", f"{field}.id", limits)  # as which it is stored
            _check_stored(tenant, proto.payload, f"{field}.payload", limits)
        return NewPoint(id, payload, image, text)
    except InvalidArgument as error:
        return error


def vectors_only(
    protos: Sequence[search_pb2.Point], points: Sequence[NewPoint | InvalidArgument]
) -> list[NewPoint | InvalidArgument]:
    """The points of a request that changes nothing but vectors, or what is wrong with them."""
    checked: list[NewPoint | InvalidArgument] = []
    seen: set[str] = set()
    for i, (proto, point) in enumerate(zip(protos, points, strict=True)):
        if isinstance(point, NewPoint) and point.payload:
            point = InvalidArgument(
                f"points[{i}].payload", "set, but only vectors change; UpdatePayload does"
            )
        elif isinstance(point, NewPoint) and point.id in seen:
            point = InvalidArgument(f"points[{i}].id", f"{point.id!r} is given twice", "ID_REPEATED")
        seen.add(proto.id)
        checked.append(point)
    return checked


def read_names(names: Sequence[str], field: str) -> tuple[VectorName, ...]:
    """Names of vectors. Raises InvalidArgument."""
    check_count(field, len(names), len(VECTOR_NAMES))
    for i, name in enumerate(names):
        check_vector_name(name, f"{field}[{i}]")
    return tuple(name for name in VECTOR_NAMES if name in names)


def check_vector_name(name: str, field: str) -> str:
    """Returns `name` if there are vectors of that name. Raises InvalidArgument."""
    if name not in VECTOR_NAMES:
        raise InvalidArgument(field, f"{name[:80]!r} is none of {', '.join(VECTOR_NAMES)}")
    return name


def _given(proto: search_pb2.Point, name: VectorName, field: str) -> Any:
    """The image or the text, or the ready vector in its place."""
    vector = f"{name}_vector"
    if not proto.HasField(vector):  # type: ignore[arg-type]  # of two names that there are
        return getattr(proto, name) if proto.HasField(name) else None
    if proto.HasField(name):
        raise InvalidArgument(f"{field}.{vector}", f"set together with {name}; a point has one of them")
    return read_vector(getattr(proto, vector), f"{field}.{vector}")


def write_point(point: StoredPoint, format: VectorFormat) -> search_pb2.StoredPoint:
    """The point as it travels, with those vectors that it was read with."""
    return search_pb2.StoredPoint(
        id=point.id,
        payload=write_payload(point.payload),
        image_vector=write_vector(point.image, format),
        text_vector=write_vector(point.text, format),
        has_image=point.has_image,
        has_text=point.has_text,
    )


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
        return _normalised(np.frombuffer(proto.f32, dtype="<f4"), f"{field}.f32")
    if proto.values:
        return _normalised(np.array(proto.values, dtype=np.float32), f"{field}.values")
    raise InvalidArgument(field, "empty; either values or f32 must be filled", "VECTOR_INVALID")


def _normalised(array: Vector, field: str) -> Vector:
    """`array` at length 1; itself if it is so. Raises InvalidArgument for NaN, infinity and zero."""
    length = math.sqrt(np.vdot(array, array))  # which, unlike @, warns of no overflow
    if abs(length - 1) <= _ROUNDING:
        return array
    if _SHORT < length < _LONG:
        return array / np.float32(length)
    wide = array.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(wide))
    if bad.size:
        raise InvalidArgument(
            f"{field}[{bad[0]}]", f"must be finite, is {array[bad[0]]}", "VECTOR_NOT_FINITE"
        )
    exact = float(np.linalg.norm(wide))
    if exact == 0:
        raise InvalidArgument(field, "all its numbers are 0; such a vector has no direction", "VECTOR_ZERO")
    return (wide / exact).astype(np.float32)


def write_vector(vector: Vector | None, format: VectorFormat) -> vector_pb2.Vector | None:
    """The vector as it travels, if there is one."""
    if vector is None:
        return None
    if format == vector_pb2.VECTOR_FORMAT_F32_BYTES:
        return vector_pb2.Vector(f32=vector.astype("<f4", copy=False).tobytes())
    return vector_pb2.Vector(values=vector.tolist())  # the array itself takes 5 times as long


def read_selection(proto: search_pb2.PayloadSelector) -> PayloadSelection:
    """Which parts of the payload come back. Raises InvalidArgument."""
    if proto.none:
        if proto.include:
            raise InvalidArgument("payload.none", "set together with include; it is one or the other")
        return NO_PAYLOAD
    if not proto.include:
        return PayloadSelection()
    check_count("payload.include", len(proto.include), MAX_INCLUDED, least=0)
    return PayloadSelection(
        include=tuple(check_path(key, f"payload.include[{i}]") for i, key in enumerate(proto.include))
    )


def read_order(request: search_pb2.ListPointsRequest) -> Order | Literal["random"] | None:
    """The order of a list, if it has one; "random": it is a sample. Raises InvalidArgument."""
    if request.sample not in search_pb2.Sample.values():
        raise InvalidArgument("sample", f"{request.sample} is none of this API's samples")
    if request.sample:
        for field, given in (("order_by", request.HasField("order_by")), ("page_token", request.page_token)):
            if given:
                raise InvalidArgument(field, "set together with sample, which has no order and no pages")
        return "random"
    if not request.HasField("order_by"):
        return None
    proto = request.order_by
    if proto.direction not in search_pb2.Direction.values():
        raise InvalidArgument("order_by.direction", f"{proto.direction} is none of this API's directions")
    start: float | datetime | None = None
    match proto.WhichOneof("start_from"):
        case "number":
            start = finite(proto.number, "order_by.number")
        case "time":
            start = read_time(proto.time, "order_by.time")
    descending = proto.direction == search_pb2.DIRECTION_DESC
    return Order(check_path(proto.key, "order_by.key"), descending, start)


def finite(number: float, field: str) -> float:
    """The number. Raises InvalidArgument for NaN and infinity."""
    if not math.isfinite(number):
        raise InvalidArgument(field, f"must be finite, is {number}")
    return number


def read_time(proto: timestamp_pb2.Timestamp, field: str) -> datetime:
    """The time. Raises InvalidArgument for one of no year from 1 to 9999."""
    try:
        return proto.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidArgument(
            field, f"{proto.seconds} s and {proto.nanos} ns are no time of the years 1 to 9999"
        ) from None


def write_value(value: str | int | bool) -> search_pb2.FieldValue:
    """A value of a payload field as it travels."""
    if isinstance(value, bool):
        return search_pb2.FieldValue(boolean=value)
    if isinstance(value, int):
        return search_pb2.FieldValue(integer=value)
    return search_pb2.FieldValue(keyword=value)


def read_change(request: search_pb2.UpdatePayloadRequest, limits: SearchSettings) -> PayloadChange:
    """What is to become of payloads. Raises InvalidArgument."""
    fields = read_payload(request.set, "set", limits.max_payload_bytes)
    check_count("delete", len(request.delete), MAX_INCLUDED, least=0)
    paths = tuple(_check_names(key, f"delete[{i}]") for i, key in enumerate(request.delete))
    if (tenant := current_tenant()) is not None:
        check_change(tenant, PayloadChange(fields, paths))
    if request.overwrite and paths:
        raise InvalidArgument("delete", "given together with overwrite, after which no other field stays")
    if not (fields or paths or request.overwrite):
        raise InvalidArgument("set", "empty, as delete is, and without overwrite: nothing would change")
    if request.overwrite:
        if tenant is not None:
            _check_stored(tenant, request.set, "set", limits)
        return PayloadChange(fields, whole=True)
    given = {name: value for name, value in fields.items() if value is not None}
    for name in fields.keys() - given.keys():
        if (path := quoted(name)) is None:
            raise InvalidArgument(f"set.{name}", "must not be null: a field of this name cannot be removed")
        paths = (*paths, path)
    return PayloadChange(given, paths)


def _check_stored(tenant: Tenant, given: struct_pb2.Struct, field: str, limits: SearchSettings) -> None:
    """Raises InvalidArgument for a payload that gets too large by the field that says whose it is."""
    own = {} if tenant.field in given.fields else {tenant.field: tenant.value}
    size = given.ByteSize() + write_payload(own).ByteSize()
    if size > limits.max_payload_bytes:
        raise InvalidArgument(
            field,
            f"{size} bytes with {tenant.field!r}, at most {limits.max_payload_bytes}",
            "PAYLOAD_TOO_LARGE",
        )


def check_merged(change: PayloadChange, limits: SearchSettings, points: Sequence[StoredPoint]) -> None:
    """Raises InvalidArgument for the first of the points whose payload the change would make too large.

    Points that a tenant shares with others are left as they are, see TenantStore.
    """
    tenant = current_tenant()
    for point in points:
        if tenant is not None and is_shared(tenant, point.payload):
            continue
        payload: Mapping[str, Any] = point.payload
        for path in change.delete:
            payload = _without(payload, keys(path))
        size = write_payload({**payload, **change.set}).ByteSize()
        if size > limits.max_payload_bytes:
            raise InvalidArgument(
                "set",
                f"with it the payload of {point.id!r} has {size} bytes, at most {limits.max_payload_bytes}",
                "PAYLOAD_TOO_LARGE",
            )


def _without(value: Any, path: Sequence[str | int]) -> Any:
    key, *further = path
    if not isinstance(value, Mapping) or key not in value:
        return value
    rest = {name: one for name, one in value.items() if name != key}
    return {**rest, key: _without(value[key], further)} if further else rest


def _check_names(path: str, field: str) -> str:
    if any(isinstance(key, int) for key in keys(check_path(path, field))):
        raise InvalidArgument(field, f"{path!r} leads into a list; only fields can be removed", "KEY_INVALID")
    return path
