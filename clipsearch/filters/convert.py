"""Filters as callers write them, and the proto they become.

Two ways to write one. Qdrant's JSON form, in full:

    {"must": [{"key": "brand", "match": {"value": "acme"}},
              {"key": "price", "range": {"lt": 20}}],
     "must_not": [{"key": "tag", "match": {"any": ["old", "sold"]}}]}

and expressions, all of which must hold (see clipsearch/filters/expressions.py):

    ["brand=acme", "price<20", "tag!=old|sold"]

In both a day is the whole of it: `{"lte": "2024-05-31"}` includes it. Days and times that do not say
where are UTC's. Beyond Qdrant's form, `{"readings": [...]}` is a condition that can be read in several
ways, as 2024 can, of which the service takes the one that fits the field.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import numpy as np

from clipsearch.filters.expressions import BOUNDS, FilterError, parse_expressions
from clipsearch.filters.periods import conditions, period
from clipsearch.search.v1 import filter_pb2

__all__ = ["FilterError", "FilterLike", "to_proto"]

FilterLike = Mapping[str, Any] | Sequence[str]
"""A filter as callers write it: Qdrant's JSON form, or expressions (`["price<20"]`)."""

_CLAUSES = ("must", "should", "must_not")
# What tells the kind of a condition; one that has none of them is a filter.
_KINDS = ("readings", "key", "has_id", "is_empty", "is_null", "has_vector", "nested")
# What a condition may say of its field, and a name that stands in it.
_PREDICATES = {
    "match": "value",
    "range": "gte",
    "geo_radius": "center",
    "geo_bounding_box": "top_left",
    "values_count": "gte",
}
_INT64, _UINT32 = 2**63, 2**32
_OPERATORS = {name: op for op, name in BOUNDS.items()}


def to_proto(filter: FilterLike, where: str = "filter") -> filter_pb2.Filter:
    """The filter as it travels; `where` it stands. Raises FilterError."""
    if isinstance(filter, str):
        filter = [filter]
    if isinstance(filter, Mapping):
        return _filter(filter, where)
    if not isinstance(filter, Sequence | set | frozenset) or isinstance(filter, bytes):
        raise FilterError(
            f"{where}: must be expressions such as ['price<20'], or a dict such as {{'must': [...]}}, "
            f"not {type(filter).__name__}"
        )
    for i, expression in enumerate(filter):
        if not isinstance(expression, str):
            raise FilterError(
                f"{where}[{i}]: must be an expression such as 'price<20', not {type(expression).__name__}; "
                "conditions that are dicts go into {'must': [...]}"
            )
    return _filter(parse_expressions(list(filter)), where)


def _filter(filter: Mapping[str, Any], where: str) -> filter_pb2.Filter:
    _only(filter, (*_CLAUSES, "min_should"), where)
    proto = filter_pb2.Filter()
    for clause in _CLAUSES:
        getattr(proto, clause).extend(_conditions(filter.get(clause, ()), f"{where}.{clause}"))
    if "min_should" in filter:
        some = _object(filter["min_should"], ("conditions", "min_count"), f"{where}.min_should")
        count = _whole(some["min_count"], f"{where}.min_should.min_count")
        conditions = _conditions(some["conditions"], f"{where}.min_should.conditions")
        proto.min_should.CopyFrom(filter_pb2.MinShould(conditions=conditions, min_count=count))
    return proto


def _conditions(conditions: Any, where: str) -> list[filter_pb2.Condition]:
    if not isinstance(conditions, Sequence) or isinstance(conditions, str):
        raise FilterError(f"{where}: must be a list of conditions, not {conditions!r}")
    return [_condition(condition, f"{where}[{i}]") for i, condition in enumerate(conditions)]


def _condition(condition: Any, where: str) -> filter_pb2.Condition:
    if not isinstance(condition, Mapping):
        raise FilterError(
            f"{where}: must be a condition such as {{'key': ..., 'match': ...}}, not {condition!r}"
        )
    kind = next((name for name in _KINDS if name in condition), "")
    if kind == "key":
        return filter_pb2.Condition(field=_field(condition, where))
    if not kind:
        return filter_pb2.Condition(filter=_filter(condition, where))
    _only(condition, (kind,), where)
    value, here = condition[kind], f"{where}.{kind}"
    match kind:
        case "readings":
            readings = _filter({"should": value}, where)
            readings.readings = True
            return filter_pb2.Condition(filter=readings)
        case "has_id":
            return filter_pb2.Condition(has_id=filter_pb2.HasId(ids=_strings(value, here)))
        case "is_empty":
            return filter_pb2.Condition(is_empty=_path(value, here))
        case "is_null":
            return filter_pb2.Condition(is_null=_path(value, here))
        case "has_vector":
            return filter_pb2.Condition(has_vector=_string(value, here))
    nested = _object(value, ("key", "filter"), here)
    inside = to_proto(nested["filter"], f"{here}.filter")
    key = _string(nested["key"], f"{here}.key")
    return filter_pb2.Condition(nested=filter_pb2.NestedCondition(key=key, filter=inside))


def _field(condition: Mapping[str, Any], where: str) -> filter_pb2.FieldCondition:
    _only(condition, ("key", *_PREDICATES), where)
    key = _string(condition["key"], f"{where}.key")
    predicates = [name for name in _PREDICATES if name in condition]
    if len(predicates) != 1:
        raise FilterError(f"{where}: must hold one of {', '.join(_PREDICATES)}")
    (name,) = predicates
    value, where = condition[name], f"{where}.{name}"
    if not isinstance(value, Mapping) or not value:
        raise FilterError(f"{where}: must be an object such as {{'{_PREDICATES[name]}': ...}}, not {value!r}")
    match name:
        case "match":
            return filter_pb2.FieldCondition(key=key, match=_match(value, where))
        case "range":
            return _range(key, value, where)
        case "values_count":
            _only(value, tuple(BOUNDS.values()), where)
            bounds = {bound: _whole(count, f"{where}.{bound}") for bound, count in value.items()}
            return filter_pb2.FieldCondition(key=key, values_count=filter_pb2.ValuesCount(**bounds))
        case "geo_radius":
            circle = _object(value, ("center", "radius"), where)
            radius = _float(circle["radius"], f"{where}.radius")
            center = _place(circle["center"], f"{where}.center")
            return filter_pb2.FieldCondition(
                key=key, geo_radius=filter_pb2.GeoRadius(center=center, radius=radius)
            )
    box = _object(value, ("top_left", "bottom_right"), where)
    corners = {corner: _place(place, f"{where}.{corner}") for corner, place in box.items()}
    return filter_pb2.FieldCondition(key=key, geo_bounding_box=filter_pb2.GeoBoundingBox(**corners))


def _match(match: Mapping[str, Any], where: str) -> filter_pb2.Match:
    _only(match, ("value", "text", "phrase", "any", "except"), where)
    if len(match) != 1:
        raise FilterError(f"{where}: must hold one of value, text, phrase, any and except")
    kind, value = next(iter(match.items()))
    value = value.item() if isinstance(value, np.generic) else value
    where = f"{where}.{kind}"
    if kind in ("any", "except"):
        return _match_list(kind, value, where)
    if isinstance(value, str):
        word = _string(value, where)
        return filter_pb2.Match(**{"keyword" if kind == "value" else kind: word})  # type: ignore[arg-type]
    if kind == "value" and isinstance(value, bool):
        return filter_pb2.Match(boolean=value)
    if kind == "value" and isinstance(value, int):
        return filter_pb2.Match(integer=_int64(value, where))
    wanted = "a string" if kind != "value" else "a string, a whole number or a boolean"
    raise FilterError(f"{where}: must be {wanted}, not {value!r}")


def _match_list(kind: str, values: Any, where: str) -> filter_pb2.Match:
    if isinstance(values, np.ndarray):
        values = values.tolist()
    elif isinstance(values, Sequence) and not isinstance(values, str):
        values = [value.item() if isinstance(value, np.generic) else value for value in values]
    listed: dict[str, Any] = {}
    if _is_list_of(values, int):
        listed[f"{kind}_integer"] = filter_pb2.Integers(values=[_int64(value, where) for value in values])
    else:
        listed[f"{kind}_keyword"] = filter_pb2.Keywords(values=_strings(values, where))
    return filter_pb2.Match(**listed)


def _range(key: str, bounds: Mapping[str, Any], where: str) -> filter_pb2.FieldCondition:
    _only(bounds, tuple(BOUNDS.values()), where)
    values: dict[str, Any] = {}
    for given, value in bounds.items():
        name, bound = _bound_value(given, value, f"{where}.{given}")
        if name in values and isinstance(bound, type(values[name])):  # both "gt" a day and "gte" a moment
            bound = (max if name.startswith("g") else min)(bound, values[name])
        values[name] = bound
    times = [isinstance(value, datetime) for value in values.values()]
    if any(times) != all(times):
        raise FilterError(f"{where}: mixes numbers and times")
    if not any(times):
        return filter_pb2.FieldCondition(key=key, range=filter_pb2.Range(**values))
    proto = filter_pb2.FieldCondition(key=key)
    for name, time in values.items():
        getattr(proto.datetime_range, name).FromDatetime(time)
    return proto


def _bound_value(name: str, value: Any, where: str) -> tuple[str, float | datetime]:
    """The bound; a day is the whole of it, so that "gt" a day is "gte" the next one."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, datetime):
        return name, value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise FilterError(f"{where}: must be finite, is {value}")
        return name, float(value)
    try:
        text = value.isoformat() if isinstance(value, date) else value
        condition = conditions("", _OPERATORS[name], period(text))
    except (AttributeError, TypeError, ValueError):
        raise FilterError(f"{where}: must be a number, a time or an RFC 3339 string, not {value!r}") from None
    ((name, moment),) = condition["range"].items()
    return name, moment


def _object(value: Any, names: Sequence[str], where: str) -> Mapping[str, Any]:
    """An object that holds just those."""
    if not isinstance(value, Mapping) or any(name not in value for name in names):
        raise FilterError(f"{where}: must be an object with {' and '.join(names)}, not {value!r}")
    _only(value, names, where)
    return value


def _place(value: Any, where: str) -> filter_pb2.GeoPoint:
    place = _object(value, ("lat", "lon"), where)
    return filter_pb2.GeoPoint(**{axis: _float(place[axis], f"{where}.{axis}") for axis in place})


def _float(value: Any, where: str) -> float:
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FilterError(f"{where}: must be a number, not {value!r}")
    try:
        return float(value)
    except OverflowError:
        raise FilterError(f"{where}: {value} is too large") from None


def _whole(value: Any, where: str) -> int:
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _UINT32:
        raise FilterError(f"{where}: must be a whole number from 0 on, not {value!r}")
    return value


def _string(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise FilterError(f"{where}: must be a string, not {value!r}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise FilterError(f"{where}: {value!r} is no text: {error.reason}") from None
    return value


def _int64(value: int, where: str) -> int:
    if not -_INT64 <= value < _INT64:
        raise FilterError(f"{where}: {value} does not fit into 64 bits")
    return value


def _path(value: Any, where: str) -> str:
    if isinstance(value, Mapping) and set(value) == {"key"}:  # Qdrant writes {"is_empty": {"key": "tag"}}
        value = value["key"]
    if not isinstance(value, str):
        raise FilterError(f"{where}: must be the path of a field, not {value!r}")
    return _string(value, where)


def _strings(values: Any, where: str) -> list[str]:
    if not _is_list_of(values, str):
        raise FilterError(f"{where}: must be a list of strings or of whole numbers, not {values!r}")
    return [_string(value, where) for value in values]


def _is_list_of(values: Any, kind: type) -> bool:
    """Whether it is a list of those; an empty one is a list of anything."""
    listed = isinstance(values, Sequence | set | frozenset) and not isinstance(values, str | bytes)
    return listed and all(isinstance(value, kind) and not isinstance(value, bool) for value in values)


def _only(given: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    unknown = sorted(str(name) for name in given if name not in known)
    if unknown:
        raise FilterError(f"{where}: {unknown[0]!r} is none of {', '.join(known)}")
