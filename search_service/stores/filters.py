"""Filters on payloads, as plain values: what a point must, should and must not be."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class MatchValue:
    """The field equals `value`, or holds it in a list."""

    key: str
    value: str | int | bool


@dataclass(frozen=True, slots=True)
class MatchAny:
    """The field equals one of `values` (all strings or all integers)."""

    key: str
    values: tuple[str, ...] | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MatchExcept:
    """The field is there and is none of `values`; of a list, at least one element is none of them."""

    key: str
    values: tuple[str, ...] | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MatchText:
    """The field contains all words of `text`; meant for fields with a text index."""

    key: str
    text: str


def _keep_the_tighter(range: Range | DatetimeRange) -> None:
    """Of two bounds on one side: the engines' numeric indexes look at one of them only."""
    if range.gt is not None and range.gte is not None:
        object.__setattr__(range, "gt" if range.gte > range.gt else "gte", None)  # type: ignore[operator]
    if range.lt is not None and range.lte is not None:
        object.__setattr__(range, "lt" if range.lte < range.lt else "lte", None)  # type: ignore[operator]


@dataclass(frozen=True, slots=True)
class Range:
    """The field is a number within bounds. Of two bounds on one side the tighter stays."""

    key: str
    gt: float | None = None
    gte: float | None = None
    lt: float | None = None
    lte: float | None = None

    def __post_init__(self) -> None:
        _keep_the_tighter(self)


@dataclass(frozen=True, slots=True)
class DatetimeRange:
    """The field is an RFC 3339 string within bounds (aware datetimes); of two on a side the tighter stays."""

    key: str
    gt: datetime | None = None
    gte: datetime | None = None
    lt: datetime | None = None
    lte: datetime | None = None

    def __post_init__(self) -> None:
        _keep_the_tighter(self)


@dataclass(frozen=True, slots=True)
class IsEmpty:
    """The field is absent, null or an empty list."""

    key: str


@dataclass(frozen=True, slots=True)
class IsNull:
    """The field is there and null."""

    key: str


@dataclass(frozen=True, slots=True)
class HasId:
    """The point has one of these ids (as written by the caller)."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HasVector:
    """The point has a vector of this name."""

    name: str


@dataclass(frozen=True, slots=True)
class Filter:
    """Every `must` holds, at least one `should` (if any) holds, no `must_not` holds.

    With `readings`, the conditions of `should` are ways to read one comparison, which need not all go
    with the type of the field.
    """

    must: tuple[Condition, ...] = ()
    should: tuple[Condition, ...] = ()
    must_not: tuple[Condition, ...] = ()
    readings: bool = False

    def __bool__(self) -> bool:
        return bool(self.must or self.should or self.must_not)


Condition = (
    MatchValue
    | MatchAny
    | MatchExcept
    | MatchText
    | Range
    | DatetimeRange
    | IsEmpty
    | IsNull
    | HasId
    | HasVector
    | Filter
)


def matches_everything(filter: Filter) -> bool:
    """True if the filter says nothing: it is empty, or holds nothing but filters that say nothing."""

    def vacuous(condition: Condition) -> bool:
        return isinstance(condition, Filter) and matches_everything(condition)

    return (
        all(map(vacuous, filter.must))
        and (not filter.should or any(map(vacuous, filter.should)))
        and not filter.must_not
    )
