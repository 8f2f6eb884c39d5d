"""Random points and random filters on their fields, as Hypothesis draws them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
from hypothesis import strategies as st

from search_service.stores.collection import TextIndex
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
    MinShould,
    Nested,
    Range,
    ValuesCount,
)
from search_service.stores.protocol import StoredPoint

DIMENSION = 4

WORDS = ["red", "hat", "Red hat", "a red straw hat", ""]
ZONES = [UTC, timezone(timedelta(hours=2)), timezone(timedelta(hours=-5, minutes=-30))]
MOMENTS = [datetime(2024, 1, day, hour, tzinfo=zone) for day in (1, 2) for hour in (0, 12) for zone in ZONES]

strings = st.sampled_from(WORDS)
integers = st.integers(-2, 2)
numbers = integers | st.sampled_from([-1.5, 0.5, 1.5])
moments = st.sampled_from(MOMENTS)
degrees = st.sampled_from([-80, 0, 56.95, 80]), st.sampled_from([-179.5, 0, 24.1, 179.5])
places = st.builds(lambda lat, lon: {"lat": lat, "lon": lon}, *degrees)
corners = st.sampled_from([-180.0, -100, 10, 100, 180])


def maybe_many(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return values | st.none() | st.lists(values | st.none(), max_size=3)


# Fields with values of one type, so that an index on them changes nothing but speed; and one with any.
FIELDS = {
    "brand": ("keyword", maybe_many(strings)),
    "size": ("integer", maybe_many(integers)),
    "price": ("float", maybe_many(numbers)),
    "sold": ("bool", maybe_many(st.booleans())),
    "made": ("datetime", maybe_many(moments.map(datetime.isoformat))),
    "note": (TextIndex(phrase_matching=True), maybe_many(strings)),
    "shop.city": ("keyword", maybe_many(strings)),
    "place": ("geo", maybe_many(places)),
}
HALLS = {
    "name": ("keyword", maybe_many(strings)),
    "size": ("integer", integers),
    "open": ("bool", st.booleans()),
}
halls = st.fixed_dictionaries({}, optional={name: values for name, (_, values) in HALLS.items()})
anything = maybe_many(strings | numbers | st.booleans())
ids = st.sampled_from([f"p{n}" for n in range(8)])


@st.composite
def payloads(draw: st.DrawFn) -> dict[str, Any]:
    payload: dict[str, Any] = {}
    for field, (_, values) in FIELDS.items():
        if draw(st.booleans()):
            *parents, name = field.split(".")
            at = payload
            for parent in parents:
                at = at.setdefault(parent, {})
            at[name] = draw(values)
    if draw(st.booleans()):
        payload["any"] = draw(anything)
    if draw(st.booleans()):
        payload["halls"] = draw(st.lists(halls, max_size=3) | halls | integers)
    return payload


@st.composite
def points(draw: st.DrawFn) -> list[StoredPoint]:
    made = []
    for number in range(draw(st.integers(1, 8))):
        names = draw(st.sampled_from([("image",), ("text",), ("image", "text")]))
        seed = draw(st.integers(0, 2**16))
        vectors = {name: random_unit(seed + n) for n, name in enumerate(names)}
        made.append(StoredPoint(f"p{number}", draw(payloads()), **vectors))
    return made


def random_unit(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)
    return vector / np.linalg.norm(vector)


def bounded(kind: type, key: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    bounds = st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), values, min_size=1, max_size=2)
    return bounds.map(lambda given: kind(key, **given))


def several(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(values, min_size=1, max_size=3).map(tuple)


def on(key: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    many = several(values)
    return values.map(lambda v: MatchValue(key, v)) | many.flatmap(
        lambda v: st.sampled_from([MatchAny(key, v), MatchExcept(key, v)])
    )


def on_booleans(key: str) -> st.SearchStrategy[Any]:
    return st.booleans().map(lambda v: MatchValue(key, v))


def on_words(key: str) -> st.SearchStrategy[Any]:
    asked = st.sampled_from(["red", "HAT", "hat red", "straw", "ha", "red straw"])
    return st.builds(lambda kind, text: kind(key, text), st.sampled_from([MatchText, MatchPhrase]), asked)


def counted(key: str) -> st.SearchStrategy[Any]:
    return bounded(ValuesCount, key, st.integers(0, 3))


def boxes(west: float, east: float, north: float, south: float) -> GeoBoundingBox:
    return GeoBoundingBox("place", GeoPoint(north, west), GeoPoint(south, east))


def filters_of(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Filter]:
    some = st.lists(inner, max_size=2).map(tuple)
    least = st.none() | several(inner).flatmap(
        lambda found: st.builds(MinShould, st.just(found), st.integers(1, len(found)))
    )
    return st.builds(Filter, must=some, should=some, must_not=some, min_should=least)


keys = st.sampled_from([*FIELDS, "any", "nothing"])
of_halls = st.one_of(
    on("name", strings),
    on("size", integers),
    bounded(Range, "size", numbers),
    on_booleans("open"),
    counted("name"),
    st.sampled_from([*HALLS, "nothing"]).map(IsEmpty),
    st.sampled_from([*HALLS, "nothing"]).map(IsNull),
)
conditions = st.one_of(
    on("brand", strings),
    on("shop.city", strings),
    on("size", integers),
    bounded(Range, "size", numbers),
    bounded(Range, "price", numbers),
    on_booleans("sold"),
    bounded(DatetimeRange, "made", moments),
    on_words("note"),
    on("any", strings),
    on("any", integers),
    on_booleans("any"),
    on_words("any"),
    bounded(Range, "any", numbers),
    on("nothing", strings),
    keys.map(IsEmpty),
    keys.map(IsNull),
    several(ids).map(HasId),
    st.sampled_from(["image", "text"]).map(HasVector),
    keys.flatmap(counted),
    st.builds(
        lambda at, radius: GeoRadius("place", GeoPoint(**at), radius),
        places,
        st.sampled_from([1.0, 1e5, 1e7, 2.1e7]),
    ),
    st.tuples(corners, corners, st.sampled_from([90.0, 60, 10]), st.sampled_from([-90.0, -10, 9]))
    .filter(lambda edges: edges[0] != edges[1])
    .map(lambda edges: boxes(*edges)),
    st.builds(Nested, st.sampled_from(["halls", "halls[]"]), filters_of(of_halls).filter(bool)),
)


filters = filters_of(st.recursive(conditions, filters_of, max_leaves=6))
