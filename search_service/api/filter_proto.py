"""Filters as they travel. Whatever is wrong with one is told by its path."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

from clipsearch.search.v1 import filter_pb2
from clipsearch.serving.errors import InvalidArgument
from search_service.api.point_proto import (
    check_count,
    check_ids,
    check_path,
    check_vector_name,
    finite,
    read_time,
)
from search_service.settings import SearchSettings
from search_service.stores.filters import (
    Condition,
    DatetimeRange,
    Filter,
    GeoBoundingBox,
    GeoPoint,
    GeoRadius,
    HasId,
    HasVector,
    IsEmpty,
    IsNull,
    MatchAny,
    MatchExcept,
    MatchPhrase,
    MatchText,
    MatchValue,
    MinShould,
    Nested,
    Range,
    ValuesCount,
    matches_everything,
)

_BOUNDS: Final = ("gt", "gte", "lt", "lte")
Bound = TypeVar("Bound", float, datetime, int)


def read_filter(proto: filter_pb2.Filter, limits: SearchSettings, field: str = "filter") -> Filter:
    """The filter. Raises InvalidArgument with the full path of what is wrong, from `field` on."""
    return _Reader(limits).filter(proto, field, depth=1)


@dataclass(slots=True)
class _Reader:
    limits: SearchSettings
    conditions: int = 0

    def filter(self, proto: filter_pb2.Filter, field: str, depth: int, *, nested: bool = False) -> Filter:
        """`nested`: of one object of a list."""
        if depth > self.limits.max_filter_depth:
            raise InvalidArgument(
                field, f"filters nested more than {self.limits.max_filter_depth} deep", "FILTER_TOO_DEEP"
            )

        some = proto.min_should.conditions
        self.conditions += len(proto.must) + len(proto.should) + len(proto.must_not) + len(some)
        if self.conditions > self.limits.max_conditions:
            raise InvalidArgument(
                field,
                f"{self.conditions} conditions so far, at most {self.limits.max_conditions} in a filter",
                "COUNT_OUT_OF_RANGE",
            )

        others = proto.must or proto.must_not or proto.HasField("min_should")
        if proto.readings and (others or not proto.should):
            raise InvalidArgument(f"{field}.readings", "set, so there must be should and nothing else")

        def clause(name: str, conditions: Sequence[filter_pb2.Condition]) -> tuple[Condition, ...]:
            return tuple(
                self.condition(condition, f"{field}.{name}[{i}]", depth, nested)
                for i, condition in enumerate(conditions)
            )

        min_should = None
        if proto.HasField("min_should"):
            check_count(f"{field}.min_should.conditions", len(some), self.limits.max_conditions)
            if not 1 <= proto.min_should.min_count <= len(some):
                raise InvalidArgument(
                    f"{field}.min_should.min_count",
                    f"{proto.min_should.min_count}; 1 to {len(some)}, which is how many conditions there are",
                    "COUNT_OUT_OF_RANGE",
                )
            min_should = MinShould(clause("min_should.conditions", some), proto.min_should.min_count)
        return Filter(
            must=clause("must", proto.must),
            should=clause("should", proto.should),
            must_not=clause("must_not", proto.must_not),
            readings=proto.readings,
            min_should=min_should,
        )

    def condition(self, proto: filter_pb2.Condition, field: str, depth: int, nested: bool) -> Condition:
        kind = proto.WhichOneof("condition")
        if nested and kind in ("has_id", "has_vector"):
            raise InvalidArgument(f"{field}.{kind}", "is of a point, not of one object of a list in it")
        match kind:
            case "field":
                return self.field(proto.field, f"{field}.field")
            case "is_empty":
                return IsEmpty(check_path(proto.is_empty, f"{field}.is_empty"))
            case "is_null":
                return IsNull(check_path(proto.is_null, f"{field}.is_null"))
            case "has_id":
                return HasId(check_ids(proto.has_id.ids, f"{field}.has_id.ids", self.limits))
            case "filter":
                return self.filter(proto.filter, f"{field}.filter", depth + 1, nested=nested)
            case "nested":
                key = check_path(proto.nested.key, f"{field}.nested.key")
                field = f"{field}.nested.filter"
                filter = self.filter(proto.nested.filter, field, depth + 1, nested=True)
                if matches_everything(filter):
                    raise InvalidArgument(field, "matches every object", "FILTER_EMPTY")
                return Nested(key, filter)
            case "has_vector":
                return HasVector(check_vector_name(proto.has_vector, f"{field}.has_vector"))
            case _:
                raise _unset(field, "field, is_empty, is_null, has_id, filter, nested, has_vector")

    def field(self, proto: filter_pb2.FieldCondition, field: str) -> Condition:
        key = check_path(proto.key, f"{field}.key")
        match proto.WhichOneof("predicate"):
            case "match":
                return self.match(key, proto.match, f"{field}.match")
            case "range":
                return Range(key, **_bounds(proto.range, f"{field}.range", finite))
            case "datetime_range":
                return DatetimeRange(
                    key, **_bounds(proto.datetime_range, f"{field}.datetime_range", read_time)
                )
            case "geo_radius":
                return _radius(key, proto.geo_radius, f"{field}.geo_radius")
            case "geo_bounding_box":
                return _box(key, proto.geo_bounding_box, f"{field}.geo_bounding_box")
            case "values_count":
                counts = _bounds(proto.values_count, f"{field}.values_count", lambda count, field: count)
                return ValuesCount(key, **counts)
            case _:
                raise _unset(
                    field, "match, range, datetime_range, geo_radius, geo_bounding_box, values_count"
                )

    def match(self, key: str, proto: filter_pb2.Match, field: str) -> Condition:
        kind = proto.WhichOneof("value")
        match kind:
            case "keyword" | "integer" | "boolean":
                return MatchValue(key, getattr(proto, kind))
            case "text" | "phrase":
                words = getattr(proto, kind)
                if not words.strip():
                    raise InvalidArgument(f"{field}.{kind}", "empty, or white space only")
                return MatchText(key, words) if kind == "text" else MatchPhrase(key, words)
            case "any_keyword" | "any_integer" | "except_keyword" | "except_integer":
                values = getattr(proto, kind).values
                check_count(f"{field}.{kind}.values", len(values), self.limits.max_ids)
                return (MatchAny if kind.startswith("any") else MatchExcept)(key, tuple(values))
            case _:
                raise _unset(
                    field,
                    "keyword, integer, boolean, text, any_keyword, any_integer, "
                    "except_keyword, except_integer, phrase",
                )


def _bounds(proto: Any, field: str, read: Callable[[Any, str], Bound]) -> dict[str, Bound]:
    bounds = {name: read(getattr(proto, name), f"{field}.{name}") for name in _BOUNDS if proto.HasField(name)}
    if not bounds:
        raise InvalidArgument(field, f"has no bound; at least one of {', '.join(_BOUNDS)} must be set")
    return bounds


def _radius(key: str, proto: filter_pb2.GeoRadius, field: str) -> GeoRadius:
    if not (proto.radius > 0 and math.isfinite(proto.radius)):
        raise InvalidArgument(f"{field}.radius", f"{proto.radius:g} metres; must be more than 0, and finite")
    return GeoRadius(key, _place(proto, "center", field), proto.radius)


def _box(key: str, proto: filter_pb2.GeoBoundingBox, field: str) -> GeoBoundingBox:
    box = GeoBoundingBox(key, _place(proto, "top_left", field), _place(proto, "bottom_right", field))
    if box.bottom_right.lat >= box.top_left.lat:
        raise InvalidArgument(
            f"{field}.bottom_right.lat",
            f"{box.bottom_right.lat:g} is not south of top_left.lat, which is {box.top_left.lat:g}",
        )
    if box.bottom_right.lon == box.top_left.lon:
        raise InvalidArgument(f"{field}.bottom_right.lon", f"{box.top_left.lon:g}, as top_left.lon is")
    return box


def _place(proto: filter_pb2.GeoRadius | filter_pb2.GeoBoundingBox, name: str, field: str) -> GeoPoint:
    if not proto.HasField(name):  # type: ignore[arg-type]  # of names that there are
        raise InvalidArgument(f"{field}.{name}", "missing; a place has lat and lon", "FILTER_INCOMPLETE")
    place: filter_pb2.GeoPoint = getattr(proto, name)
    for axis, most in (("lat", 90), ("lon", 180)):
        if not abs(degrees := getattr(place, axis)) <= most:  # NaN is not either
            raise InvalidArgument(f"{field}.{name}.{axis}", f"{degrees:g} degrees; -{most} to {most}")
    return GeoPoint(place.lat, place.lon)


def _unset(field: str, kinds: str) -> InvalidArgument:
    return InvalidArgument(field, f"empty; exactly one of {kinds} must be set", "FILTER_INCOMPLETE")
