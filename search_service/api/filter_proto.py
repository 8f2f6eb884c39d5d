"""Filters as they travel become filters as values; everything that is wrong with one is told by its path."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from google.protobuf import timestamp_pb2

from clipsearch.search.v1 import filter_pb2
from clipsearch.serving.errors import InvalidArgument
from search_service.api.checks import check_count, check_ids, check_path
from search_service.settings import SearchSettings
from search_service.stores.filters import (
    Condition,
    DatetimeRange,
    Filter,
    HasId,
    IsEmpty,
    IsNull,
    MatchAny,
    MatchExcept,
    MatchText,
    MatchValue,
    Range,
)

_BOUNDS: Final = ("gt", "gte", "lt", "lte")


def read_filter(proto: filter_pb2.Filter, limits: SearchSettings, field: str = "filter") -> Filter:
    """The filter. Raises InvalidArgument with the full path of what is wrong, from `field` on."""
    return _Reader(limits).filter(proto, field, depth=1)


@dataclass(slots=True)
class _Reader:
    limits: SearchSettings
    conditions: int = 0

    def filter(self, proto: filter_pb2.Filter, field: str, depth: int) -> Filter:
        if depth > self.limits.max_filter_depth:
            raise InvalidArgument(
                field, f"filters nested more than {self.limits.max_filter_depth} deep", "FILTER_TOO_DEEP"
            )

        self.conditions += len(proto.must) + len(proto.should) + len(proto.must_not)
        if self.conditions > self.limits.max_conditions:
            raise InvalidArgument(
                field,
                f"{self.conditions} conditions so far, at most {self.limits.max_conditions} in a filter",
                "COUNT_OUT_OF_RANGE",
            )

        if proto.readings and (proto.must or proto.must_not or not proto.should):
            raise InvalidArgument(f"{field}.readings", "set, so there must be should and nothing else")

        def clause(name: str, conditions: Sequence[filter_pb2.Condition]) -> tuple[Condition, ...]:
            return tuple(
                self.condition(condition, f"{field}.{name}[{i}]", depth)
                for i, condition in enumerate(conditions)
            )

        return Filter(
            must=clause("must", proto.must),
            should=clause("should", proto.should),
            must_not=clause("must_not", proto.must_not),
            readings=proto.readings,
        )

    def condition(self, proto: filter_pb2.Condition, field: str, depth: int) -> Condition:
        match proto.WhichOneof("condition"):
            case "field":
                return self.field(proto.field, f"{field}.field")
            case "is_empty":
                return IsEmpty(check_path(proto.is_empty, f"{field}.is_empty"))
            case "is_null":
                return IsNull(check_path(proto.is_null, f"{field}.is_null"))
            case "has_id":
                return HasId(check_ids(proto.has_id.ids, f"{field}.has_id.ids", self.limits))
            case "filter":
                return self.filter(proto.filter, f"{field}.filter", depth + 1)
            case _:
                raise _unset(field, "field, is_empty, is_null, has_id, filter")

    def field(self, proto: filter_pb2.FieldCondition, field: str) -> Condition:
        key = check_path(proto.key, f"{field}.key")
        match proto.WhichOneof("predicate"):
            case "match":
                return self.match(key, proto.match, f"{field}.match")
            case "range":
                return Range(key, **_numbers(proto.range, f"{field}.range"))
            case "datetime_range":
                return DatetimeRange(key, **_times(proto.datetime_range, f"{field}.datetime_range"))
            case _:
                raise _unset(field, "match, range, datetime_range")

    def match(self, key: str, proto: filter_pb2.Match, field: str) -> Condition:
        kind = proto.WhichOneof("value")
        match kind:
            case "keyword" | "integer" | "boolean":
                return MatchValue(key, getattr(proto, kind))
            case "text":
                if not proto.text.strip():
                    raise InvalidArgument(f"{field}.text", "empty, or white space only")
                return MatchText(key, proto.text)
            case "any_keyword" | "any_integer":
                return MatchAny(key, self.values(getattr(proto, kind).values, f"{field}.{kind}.values"))
            case "except_keyword" | "except_integer":
                return MatchExcept(key, self.values(getattr(proto, kind).values, f"{field}.{kind}.values"))
            case _:
                raise _unset(
                    field,
                    "keyword, integer, boolean, text, any_keyword, any_integer, "
                    "except_keyword, except_integer",
                )

    def values(self, values: Sequence[Any], field: str) -> tuple[Any, ...]:
        check_count(field, len(values), self.limits.max_ids)
        return tuple(values)


def _numbers(proto: filter_pb2.Range, field: str) -> dict[str, float]:
    bounds = {name: getattr(proto, name) for name in _BOUNDS if proto.HasField(name)}
    for name, bound in bounds.items():
        if not math.isfinite(bound):
            raise InvalidArgument(f"{field}.{name}", f"must be finite, is {bound}")
    return _some(bounds, field)


def _times(proto: filter_pb2.DatetimeRange, field: str) -> dict[str, datetime]:
    return _some(
        {name: _time(getattr(proto, name), f"{field}.{name}") for name in _BOUNDS if proto.HasField(name)},
        field,
    )


def _time(proto: timestamp_pb2.Timestamp, field: str) -> datetime:
    try:
        return proto.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidArgument(
            field, f"{proto.seconds} s and {proto.nanos} ns are no time of the years 1 to 9999"
        ) from None


Bound = TypeVar("Bound", float, datetime)


def _some(bounds: dict[str, Bound], field: str) -> dict[str, Bound]:
    if not bounds:
        raise InvalidArgument(field, f"has no bound; at least one of {', '.join(_BOUNDS)} must be set")
    return bounds


def _unset(field: str, kinds: str) -> InvalidArgument:
    return InvalidArgument(field, f"empty; exactly one of {kinds} must be set", "FILTER_INCOMPLETE")
