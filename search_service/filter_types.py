"""A filter against the payload indexes: comparing a field with another type is refused.

Without that, a range over an index of keywords would be answered with nothing, which looks like an answer.
"""

from __future__ import annotations

from collections.abc import Mapping

from clipsearch.serving.errors import InvalidArgument
from search_service.filters import (
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
from search_service.stores.protocol import IndexType

_FITTING: dict[IndexType, tuple[str, ...]] = {
    "keyword": ("a string", "a text"),
    "text": ("a string", "a text"),
    "integer": ("an integer", "a range"),
    "float": ("an integer", "a range"),
    "bool": ("a boolean",),
    "datetime": ("a string", "a datetime_range"),
}


def check_types(filter: Filter, indexes: Mapping[str, IndexType], field: str = "filter") -> None:
    """Raises InvalidArgument if a condition compares an indexed field with a value of another type."""
    for clause in ("must", "should", "must_not"):
        for i, condition in enumerate(getattr(filter, clause)):
            _check(condition, indexes, f"{field}.{clause}[{i}]")


def _check(condition: Condition, indexes: Mapping[str, IndexType], field: str) -> None:
    match condition:
        case Filter():
            check_types(condition, indexes, f"{field}.filter")
        case IsEmpty() | IsNull() | HasId():
            pass  # hold or not whatever the type
        case _:
            index = indexes.get(condition.key)
            wanted = _compares_with(condition)
            if index is not None and wanted not in _FITTING[index]:
                raise InvalidArgument(
                    f"{field}.field",
                    f"compares {condition.key!r} with {wanted}, but its payload index is of type {index} "
                    f"and fits {' or '.join(_FITTING[index])}",
                    "FILTER_TYPE_MISMATCH",
                    {"key": condition.key, "index_type": index},
                )


def _compares_with(
    condition: MatchValue | MatchAny | MatchExcept | MatchText | Range | DatetimeRange,
) -> str:
    match condition:
        case MatchText():
            return "a text"
        case Range():
            return "a range"
        case DatetimeRange():
            return "a datetime_range"
        case MatchValue():
            value: str | int | bool = condition.value
        case _:
            value = condition.values[0]
    if isinstance(value, bool):
        return "a boolean"
    return "a string" if isinstance(value, str) else "an integer"
