"""A filter against the payload indexes: comparing a field with another type is refused.

Without that, a range over an index of keywords would be answered with nothing, which looks like an answer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime

from clipsearch.serving.errors import InvalidArgument
from search_service.error_paths import at
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
from search_service.stores.protocol import IndexType

Comparison = MatchValue | MatchAny | MatchExcept | MatchText | Range | DatetimeRange

_FITTING: dict[IndexType, tuple[str, ...]] = {
    "keyword": ("a string", "a text"),
    "text": ("a string", "a text"),
    "integer": ("an integer", "a range"),
    "float": ("an integer", "a range"),
    "bool": ("a boolean",),
    "datetime": ("a string", "a datetime_range"),
}


def fitted(filter: Filter, indexes: Mapping[str, IndexType], field: str = "filter") -> Filter:
    """The filter, of its readings only those that go with the payload indexes.

    Raises InvalidArgument if a condition compares an indexed field with a value of another type.
    """
    if filter.readings:
        return _readings(filter, indexes, field)

    def clause(name: str, conditions: tuple[Condition, ...]) -> tuple[Condition, ...]:
        return tuple(
            _fitted(condition, indexes, f"{field}.{name}[{i}]") for i, condition in enumerate(conditions)
        )

    return Filter(
        clause("must", filter.must), clause("should", filter.should), clause("must_not", filter.must_not)
    )


def _fitted(condition: Condition, indexes: Mapping[str, IndexType], field: str) -> Condition:
    match condition:
        case Filter():
            return fitted(condition, indexes, f"{field}.filter")
        case IsEmpty() | IsNull() | HasId():
            return condition  # hold or not whatever the type
        case _:
            _check(condition, indexes.get(condition.key), f"{field}.field")
            return condition


def _readings(filter: Filter, indexes: Mapping[str, IndexType], field: str) -> Filter:
    fit: list[Condition] = []
    refusal: InvalidArgument | None = None
    for i, reading in enumerate(filter.should):
        try:
            fit.append(_fitted(reading, indexes, f"{field}.should[{i}]"))
        except InvalidArgument as error:
            refusal = refusal or error
    if refusal is not None and not fit:
        raise at(refusal, field)
    # Of a day also the word would go with an index of times, which is of no use for words.
    times = [
        reading
        for reading in fit
        if indexes.get(key_of(reading)) == "datetime" and kinds(reading) == {"date"}
    ]
    return dataclasses.replace(filter, should=tuple(times or fit))


def _check(condition: Comparison, index: IndexType | None, field: str) -> None:
    if index is None:
        return
    wanted = _compares_with(condition)
    metadata = {"key": condition.key, "index_type": index}
    if wanted not in _FITTING[index]:
        raise InvalidArgument(
            field,
            f"compares {condition.key!r} with {wanted}, but its payload index is of type {index} "
            f"and fits {' or '.join(_FITTING[index])}{hint(condition, index in ('keyword', 'text'))}",
            "FILTER_TYPE_MISMATCH",
            metadata,
        )
    if index == "datetime":
        for value in _values(condition):
            if not is_time(value):
                raise InvalidArgument(
                    field,
                    f"{value!r} is no date or time such as 2024-05-31, and the payload index of "
                    f"{condition.key!r} is of type datetime",
                    "FILTER_TYPE_MISMATCH",
                    metadata,
                )


def kinds(condition: Condition) -> frozenset[str]:
    """What a condition on one field compares it with: some of number, word, boolean and date."""
    match condition:
        case Filter():
            decisive = condition.must or condition.should or condition.must_not
            return frozenset().union(*map(kinds, decisive))
        case IsEmpty() | IsNull() | HasId():
            return frozenset()
        case _:
            kind = _KINDS[_compares_with(condition)]
            day = kind == "word" and any(map(is_time, _values(condition)))
            return frozenset({kind, "date"} if day else {kind})


def key_of(condition: Condition) -> str:
    """The field of a reading; "" where there is none."""
    match condition:
        case Filter():
            parts = (*condition.must, *condition.should, *condition.must_not)
            return next((key for part in parts if (key := key_of(part))), "")
        case HasId():
            return ""
        case _:
            return condition.key


def is_time(value: object) -> bool:
    """Whether the engine takes a value for a date or time."""
    if not isinstance(value, str):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return "-" in value  # 20240531 is none to the engine


def hint(condition: Condition, words: bool) -> str:
    """How the caller may have meant it, of a field that holds words or does not."""
    values = _values(condition) if isinstance(condition, MatchValue | MatchAny | MatchExcept) else ()
    for value in values:
        if not isinstance(value, str):
            return f'; a word is written in quotes: "{str(value).lower()}"' if words else ""
        if value.lower() in ("true", "false") or value.lstrip("+-").replace(".", "", 1).isdecimal():
            return f"; without quotes {value} is none"
    return ""


_KINDS = {
    "a string": "word",
    "a text": "word",
    "an integer": "number",
    "a range": "number",
    "a boolean": "boolean",
    "a datetime_range": "date",
}


def _values(condition: Condition) -> tuple[str, ...] | tuple[int, ...]:
    match condition:
        case MatchValue():
            return (condition.value,)  # type: ignore[return-value]  # one of either
        case MatchAny() | MatchExcept():
            return condition.values
        case _:
            return ()


def _compares_with(condition: Comparison) -> str:
    match condition:
        case MatchText():
            return "a text"
        case Range():
            return "a range"
        case DatetimeRange():
            return "a datetime_range"
    value = _values(condition)[0]
    if isinstance(value, bool):
        return "a boolean"
    return "a string" if isinstance(value, str) else "an integer"
