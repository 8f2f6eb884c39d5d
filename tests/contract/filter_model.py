"""What a filter means, in a few lines of plain Python that stores are held against."""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Any

from search_service.stores.filters import (
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
    Nested,
    Range,
    ValuesCount,
)
from search_service.stores.protocol import StoredPoint


def values_at(payload: dict[str, Any], key: str) -> list[Any]:
    """What is at a path: nothing, or one value."""
    at: Any = payload
    for name in key.split("."):
        if not isinstance(at, dict) or name not in at:
            return []
        at = at[name]
    return [at]


def elements_at(payload: dict[str, Any], key: str) -> list[Any]:
    return [
        item for value in values_at(payload, key) for item in (value if isinstance(value, list) else [value])
    ]


def same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and a == b


def words(text: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[^\W_]+", text)]


def within(value: Any, bounds: Range | DatetimeRange | ValuesCount) -> bool:
    return (
        (bounds.gt is None or value > bounds.gt)
        and (bounds.gte is None or value >= bounds.gte)
        and (bounds.lt is None or value < bounds.lt)
        and (bounds.lte is None or value <= bounds.lte)
    )


def moment(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) and "T" in value else None
    except ValueError:
        return None


def place(value: Any) -> tuple[float, float] | None:
    return (
        (value["lat"], value["lon"]) if isinstance(value, dict) and {"lat", "lon"} <= value.keys() else None
    )


def metres(a: tuple[float, float], b: GeoPoint) -> float:
    """By the haversine formula."""
    north, south = math.radians(a[0]), math.radians(b.lat)
    chord = (
        math.sin((north - south) / 2) ** 2
        + math.cos(north) * math.cos(south) * math.sin(math.radians(a[1] - b.lon) / 2) ** 2
    )
    return 2 * 6_371_009 * math.asin(min(1.0, math.sqrt(chord)))


def inside(at: tuple[float, float], box: GeoBoundingBox) -> bool:
    west, east = box.top_left.lon, box.bottom_right.lon
    between = west < at[1] < east if west < east else at[1] > west or at[1] < east
    return between and box.bottom_right.lat < at[0] < box.top_left.lat


def count(value: Any) -> int:
    return len(value) if isinstance(value, list) else int(value is not None)


def matches(point: StoredPoint, condition: object) -> bool:
    payload = dict(point.payload)
    match condition:
        case MatchValue(key, wanted):
            return any(same(item, wanted) for item in elements_at(payload, key))
        case MatchAny(key, wanted):
            return any(same(item, one) for item in elements_at(payload, key) for one in wanted)
        case MatchExcept(key, unwanted):
            return any(
                item is not None and not any(same(item, one) for one in unwanted)
                for item in elements_at(payload, key)
            )
        case MatchText(key, text):
            return any(
                isinstance(item, str) and {*words(text)} <= {*words(item)}
                for item in elements_at(payload, key)
            )
        case MatchPhrase(key, phrase):
            said = [words(item) for item in elements_at(payload, key) if isinstance(item, str)]
            size, wanted = len(words(phrase)), words(phrase)
            return any(wanted == one[at : at + size] for one in said for at in range(len(one)))
        case Range(key):
            return any(
                isinstance(item, int | float) and not isinstance(item, bool) and within(item, condition)
                for item in elements_at(payload, key)
            )
        case DatetimeRange(key):
            moments = (moment(item) for item in elements_at(payload, key))
            return any(at is not None and within(at, condition) for at in moments)
        case IsEmpty(key):
            return values_at(payload, key) in ([], [None], [[]])
        case IsNull(key):
            return None in values_at(payload, key) or None in elements_at(payload, key)
        case HasId(ids):
            return point.id in ids
        case HasVector(name):
            return getattr(point, name) is not None
        case GeoRadius(key, center, radius):
            places = (place(item) for item in elements_at(payload, key))
            return any(at is not None and metres(at, center) < radius for at in places)
        case GeoBoundingBox(key):
            places = (place(item) for item in elements_at(payload, key))
            return any(at is not None and inside(at, condition) for at in places)
        case ValuesCount(key):
            return within(sum(map(count, values_at(payload, key))), condition)
        case Nested(key, filter):
            objects = [one for value in values_at(payload, key) if isinstance(value, list) for one in value]
            return any(isinstance(one, dict) and matches(StoredPoint("", one), filter) for one in objects)
        case Filter(must, should, must_not, _, some):
            return (
                all(matches(point, one) for one in must)
                and (not should or any(matches(point, one) for one in should))
                and (not some or sum(matches(point, one) for one in some.conditions) >= some.min_count)
                and not any(matches(point, one) for one in must_not)
            )
    raise AssertionError(condition)
