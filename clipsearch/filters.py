"""Filters as callers write them, and the proto they become.

Two ways to write one. Qdrant's JSON form, in full:

    {"must": [{"key": "brand", "match": {"value": "acme"}},
              {"key": "price", "range": {"lt": 20}}],
     "must_not": [{"key": "tag", "match": {"any": ["old", "sold"]}}]}

and expressions, all of which must hold (see clipsearch/expressions.py):

    ["brand=acme", "price<20", "tag!=old|sold"]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from clipsearch.expressions import BOUNDS, FilterError, parse_expressions, parse_time
from clipsearch.inputs import FilterLike
from clipsearch.search.v1 import filter_pb2

__all__ = ["FilterError", "to_proto"]

_CLAUSES = ("must", "should", "must_not")
_INT64 = 2**63


def to_proto(filter: FilterLike) -> filter_pb2.Filter:
    """The filter as it travels. Raises FilterError."""
    if isinstance(filter, str):
        filter = [filter]
    if isinstance(filter, Mapping):
        return _filter(filter, "filter")
    return _filter(parse_expressions(filter), "filter")


def _filter(filter: Mapping[str, Any], where: str) -> filter_pb2.Filter:
    _only(filter, _CLAUSES, where)
    proto = filter_pb2.Filter()
    for clause in _CLAUSES:
        conditions = filter.get(clause, ())
        if not isinstance(conditions, Sequence) or isinstance(conditions, str):
            raise FilterError(f"{where}.{clause}: must be a list of conditions, not {conditions!r}")
        for i, condition in enumerate(conditions):
            getattr(proto, clause).append(_condition(condition, f"{where}.{clause}[{i}]"))
    return proto


def _condition(condition: Any, where: str) -> filter_pb2.Condition:
    if not isinstance(condition, Mapping):
        raise FilterError(
            f"{where}: must be a condition such as {{'key': ..., 'match': ...}}, not {condition!r}"
        )
    if "key" in condition:
        return filter_pb2.Condition(field=_field(condition, where))
    if "has_id" in condition:
        _only(condition, ("has_id",), where)
        return filter_pb2.Condition(
            has_id=filter_pb2.HasId(ids=_strings(condition["has_id"], f"{where}.has_id"))
        )
    if "is_empty" in condition:
        _only(condition, ("is_empty",), where)
        return filter_pb2.Condition(is_empty=_path(condition["is_empty"], f"{where}.is_empty"))
    if "is_null" in condition:
        _only(condition, ("is_null",), where)
        return filter_pb2.Condition(is_null=_path(condition["is_null"], f"{where}.is_null"))
    return filter_pb2.Condition(filter=_filter(condition, where))


def _field(condition: Mapping[str, Any], where: str) -> filter_pb2.FieldCondition:
    _only(condition, ("key", "match", "range"), where)
    key = condition["key"]
    if not isinstance(key, str):
        raise FilterError(f"{where}.key: must be a string, not {key!r}")
    predicates = [name for name in ("match", "range") if name in condition]
    if len(predicates) != 1:
        raise FilterError(f"{where}: must hold either match or range")
    value = condition[predicates[0]]
    if not isinstance(value, Mapping) or not value:
        raise FilterError(
            f"{where}.{predicates[0]}: must be an object such as {{'value': ...}}, not {value!r}"
        )
    if predicates[0] == "match":
        return filter_pb2.FieldCondition(key=key, match=_match(value, f"{where}.match"))
    return _range(key, value, f"{where}.range")


def _match(match: Mapping[str, Any], where: str) -> filter_pb2.Match:
    _only(match, ("value", "text", "any", "except"), where)
    if len(match) != 1:
        raise FilterError(f"{where}: must hold one of value, text, any and except")
    kind, value = next(iter(match.items()))
    where = f"{where}.{kind}"
    if kind in ("any", "except"):
        return _match_list(kind, value, where)
    if isinstance(value, str):
        return filter_pb2.Match(text=value) if kind == "text" else filter_pb2.Match(keyword=value)
    if kind == "value" and isinstance(value, bool):
        return filter_pb2.Match(boolean=value)
    if kind == "value" and isinstance(value, int):
        return filter_pb2.Match(integer=_int64(value, where))
    wanted = "a string" if kind == "text" else "a string, a whole number or a boolean"
    raise FilterError(f"{where}: must be {wanted}, not {value!r}")


def _match_list(kind: str, values: Any, where: str) -> filter_pb2.Match:
    if _is_list_of(values, int):
        integers = filter_pb2.Integers(values=[_int64(value, where) for value in values])
        return (
            filter_pb2.Match(any_integer=integers)
            if kind == "any"
            else filter_pb2.Match(except_integer=integers)
        )
    keywords = filter_pb2.Keywords(values=_strings(values, where))
    return (
        filter_pb2.Match(any_keyword=keywords) if kind == "any" else filter_pb2.Match(except_keyword=keywords)
    )


def _range(key: str, bounds: Mapping[str, Any], where: str) -> filter_pb2.FieldCondition:
    _only(bounds, tuple(BOUNDS.values()), where)
    values = {name: _bound_value(value, f"{where}.{name}") for name, value in bounds.items()}
    times = [isinstance(value, datetime) for value in values.values()]
    if any(times) != all(times):
        raise FilterError(f"{where}: mixes numbers and times")
    if not any(times):
        return filter_pb2.FieldCondition(key=key, range=filter_pb2.Range(**values))
    proto = filter_pb2.FieldCondition(key=key)
    for name, time in values.items():
        getattr(proto.datetime_range, name).FromDatetime(time)
    return proto


def _bound_value(value: Any, where: str) -> Any:
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    try:
        return parse_time(value)
    except (TypeError, ValueError):
        raise FilterError(f"{where}: must be a number, a time or an RFC 3339 string, not {value!r}") from None


def _int64(value: int, where: str) -> int:
    if not -_INT64 <= value < _INT64:
        raise FilterError(f"{where}: {value} does not fit into 64 bits")
    return value


def _path(value: Any, where: str) -> str:
    if isinstance(value, Mapping) and set(value) == {"key"}:  # Qdrant writes {"is_empty": {"key": "tag"}}
        value = value["key"]
    if not isinstance(value, str):
        raise FilterError(f"{where}: must be the path of a field, not {value!r}")
    return value


def _strings(values: Any, where: str) -> list[str]:
    if not _is_list_of(values, str):
        raise FilterError(f"{where}: must be a list of strings or of whole numbers, not {values!r}")
    return list(values)


def _is_list_of(values: Any, kind: type) -> bool:
    listed = isinstance(values, Sequence | set | frozenset) and not isinstance(values, str | bytes)
    return listed and all(isinstance(value, kind) and not isinstance(value, bool) for value in values)


def _only(given: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    unknown = sorted(str(name) for name in given if name not in known)
    if unknown:
        raise FilterError(f"{where}: {unknown[0]!r} is none of {', '.join(known)}")
