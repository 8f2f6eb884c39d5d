"""Points as they travel: read to be written, written when read, and which parts of them are asked for."""

from __future__ import annotations

from typing import TypeAlias

from clipsearch.encoder.v1 import vector_pb2
from clipsearch.search.v1 import search_pb2
from clipsearch.serving.errors import InvalidArgument
from search_service.api.checks import check_count, check_id, check_path
from search_service.api.payload_proto import read_payload, write_payload
from search_service.api.vector_proto import read_vector, write_vector
from search_service.settings import MAX_INCLUDED, SearchSettings
from search_service.stores.protocol import PayloadSelection, StoredPoint, Vector
from search_service.write.upsert import NewPoint

VectorFormat: TypeAlias = "vector_pb2.VectorFormat.ValueType"


def read_point(proto: search_pb2.Point, field: str, limits: SearchSettings) -> NewPoint | InvalidArgument:
    """The point at `field` (`points[3]`) of a request, or what is wrong with it."""
    try:
        return _read(proto, field, limits)
    except InvalidArgument as error:
        return error


def _read(proto: search_pb2.Point, field: str, limits: SearchSettings) -> NewPoint:
    id = check_id(proto.id, f"{field}.id", limits)
    image: bytes | Vector | None = proto.image if proto.HasField("image") else None
    text: str | Vector | None = proto.text if proto.HasField("text") else None
    if proto.HasField("image_vector"):
        if image is not None:
            raise InvalidArgument(f"{field}.image_vector", "set together with image; a point has one of them")
        image = read_vector(proto.image_vector, f"{field}.image_vector")
    if proto.HasField("text_vector"):
        if text is not None:
            raise InvalidArgument(f"{field}.text_vector", "set together with text; a point has one of them")
        text = read_vector(proto.text_vector, f"{field}.text_vector")
    if image is None and text is None:
        raise InvalidArgument(
            field, "has none of image, text, image_vector and text_vector; it needs one", "POINT_EMPTY"
        )
    payload = read_payload(proto.payload, f"{field}.payload", limits.max_payload_bytes)
    return NewPoint(id, payload, image, text)


def write_point(point: StoredPoint, format: VectorFormat) -> search_pb2.StoredPoint:
    """The point as it travels, with those vectors that it was read with."""
    return search_pb2.StoredPoint(
        id=point.id,
        payload=write_payload(point.payload),
        image_vector=write_optional(point.image, format),
        text_vector=write_optional(point.text, format),
        has_image=point.has_image,
        has_text=point.has_text,
    )


def write_optional(vector: Vector | None, format: VectorFormat) -> vector_pb2.Vector | None:
    """The vector as it travels, if there is one."""
    return None if vector is None else write_vector(vector, format)


def check_format(format: VectorFormat) -> VectorFormat:
    """Returns `format` if it is one. Raises InvalidArgument."""
    if format not in vector_pb2.VectorFormat.values():
        raise InvalidArgument("vector_format", f"{format} is none of this API's formats")
    return format


def read_selection(proto: search_pb2.PayloadSelector) -> PayloadSelection:
    """Which parts of the payload come back. Raises InvalidArgument."""
    if proto.none:
        if proto.include:
            raise InvalidArgument("payload.none", "set together with include; it is one or the other")
        return PayloadSelection(include=())
    if not proto.include:
        return PayloadSelection()
    check_count("payload.include", len(proto.include), MAX_INCLUDED, least=0)
    return PayloadSelection(
        include=tuple(check_path(key, f"payload.include[{i}]") for i, key in enumerate(proto.include))
    )
