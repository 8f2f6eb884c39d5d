"""Days and times as written: each names a period, as long as it is exact.

`2024` is a year, `2024-05` a month, `2024-05-31` a day, `2024-05-31T12:00` a minute. So `<=` a day
includes all of it, and `>` begins after it. Whose day it is says the caller's time zone, unless the
time says one of its own (`Z`, `+02:00`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

_WRITTEN = re.compile(
    r"(?P<year>[0-9]{4})(?:-(?P<month>[0-9]{2})(?:-(?P<day>[0-9]{2})"
    r"(?:[Tt ](?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})"
    r"(?::(?P<second>[0-9]{2})(?:\.(?P<fraction>[0-9]{1,9}))?)?"
    r"\s?(?P<zone>[Zz]|[+-][0-9]{2}:?[0-9]{2})?)?)?)?"
)
_FIRST = datetime(1, 1, 1, tzinfo=UTC)
_LAST = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Edge:
    """Where a period begins or ends: a moment (UTC), and for midnights the day that begins there."""

    moment: datetime
    day: datetime | None = None  # midnight in UTC of the day of that name

    @property
    def late(self) -> bool:
        """Whether the day begins later than in UTC, as it does west of it.

        Stored values that are days alone ("2024-06-01") are midnights in UTC to the engine. West of
        it those of the day that begins here lie before this moment, and belong after it.
        """
        return self.day is not None and self.day < self.moment


@dataclass(frozen=True, slots=True)
class Period:
    """From `begin` on, until before `end`; None = for ever."""

    begin: Edge
    end: Edge | None


def period(text: str, zone: tzinfo | None = UTC) -> Period:
    """The period that a text names. `zone` None is the machine's own. Raises ValueError."""
    found = _WRITTEN.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no date or time such as 2024, 2024-05, 2024-05-31 or 2024-05-31T12:00")
    part = {name: int(digits) for name, digits in found.groupdict().items() if digits and digits.isdigit()}
    begin = datetime(part["year"], part.get("month", 1), part.get("day", 1))
    if found["hour"] is None:
        return Period(_midnight(begin, zone), _midnight(_following(begin, part), zone))
    micros = int((found["fraction"] or "0").ljust(6, "0")[:6])
    begin = begin.replace(hour=part["hour"], minute=part["minute"], second=part.get("second", 0))
    start = _moment(begin.replace(microsecond=micros), _zone(found["zone"], zone))
    if found["fraction"]:
        length = timedelta(microseconds=10 ** max(0, 6 - len(found["fraction"])))
    else:
        length = timedelta(seconds=1 if found["second"] else 60)
    try:
        return Period(Edge(start), Edge(start + length))
    except OverflowError:
        return Period(Edge(start), None)


def conditions(key: str, op: str, when: Period) -> dict[str, Any]:
    """The condition that a field is a time which stands so to a period, in Qdrant's JSON form.

    `op` is one of = < <= > >=.
    """
    match op:
        case "<":
            return _before(key, when.begin)
        case ">=":
            return _since(key, when.begin)
        case "<=":
            return _before(key, when.end)
        case ">":
            return _since(key, when.end) if when.end else {"key": key, "range": {"gt": _LAST}}
    begin, end = when.begin, when.end
    if end is not None and not begin.late and not end.late:
        return {"key": key, "range": {"gte": begin.moment, "lt": end.moment}}
    return {"must": [_since(key, begin), _before(key, end)]}


def _before(key: str, edge: Edge | None) -> dict[str, Any]:
    if edge is None:
        return {"key": key, "range": {"lte": _LAST}}
    earlier = {"key": key, "range": {"lt": edge.moment}}
    if not edge.late or edge.day is None:
        return earlier
    return {"must": [earlier], "must_not": [_day(key, edge.day)]}


def _since(key: str, edge: Edge) -> dict[str, Any]:
    if not edge.late or edge.day is None:
        return {"key": key, "range": {"gte": edge.moment}}
    # Between the two midnights only the day alone: in this form an index on the field is of use.
    between = {"must": [{"key": key, "range": {"lt": edge.moment}}], "must_not": [_day(key, edge.day)]}
    return {"must": [{"key": key, "range": {"gte": edge.day}}], "must_not": [between]}


def _day(key: str, day: datetime) -> dict[str, Any]:
    return {"key": key, "match": {"value": day.date().isoformat()}}


def _following(begin: datetime, part: dict[str, int]) -> datetime | None:
    try:
        if "day" in part:
            return begin + timedelta(days=1)
        if "month" in part:
            return (begin + timedelta(days=31)).replace(day=1)
        return begin.replace(year=begin.year + 1)
    except (ValueError, OverflowError):  # the year 9999 ends with the calendar
        return None


def _midnight(day: datetime | None, zone: tzinfo | None) -> Any:
    return None if day is None else Edge(_moment(day, zone), day.replace(tzinfo=UTC))


def _moment(local: datetime, zone: tzinfo | None) -> datetime:
    """Where the clocks are put forward over it, the moment at which they are."""
    try:
        return (local if zone is None else local.replace(tzinfo=zone)).astimezone(UTC)
    except (OverflowError, OSError, ValueError):  # beyond the first or the last year in UTC
        return _FIRST if local.year < 5000 else _LAST


def _zone(written: str | None, zone: tzinfo | None) -> tzinfo | None:
    if written is None:
        return zone
    return UTC if written in "Zz" else datetime.fromisoformat(f"2000-01-01T00:00{written}").tzinfo
