"""Random points and random filters: every store finds what a few lines of plain Python find."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from search_service.stores.collection import CollectionSpec, TextIndex
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
from search_service.stores.protocol import (
    StoredPoint,
    VectorQuery,
    VectorStore,
)
from tests.contract.shop import close_store, open_store

DIMENSION = 4
TEXTUAL = ("MatchText", "MatchPhrase")
pytestmark = [
    pytest.mark.slow,
]

# --- what a filter means ---


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


# --- random points and filters ---

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
    st.builds(Nested, st.just("halls"), filters_of(of_halls).filter(bool)),
)


filters = filters_of(st.recursive(conditions, filters_of, max_leaves=6))


# --- the comparison ---


@dataclass(frozen=True, slots=True)
class Opened:
    """A store with an indexed and a plain collection, in a loop of its own that outlives an example."""

    runner: asyncio.Runner
    store: VectorStore


@pytest.fixture
def opened(store_kind: str, tmp_path: Path) -> Iterator[Opened]:
    with asyncio.Runner() as runner:
        store = runner.run(open_store(store_kind, tmp_path / "data"))
        indexes = {field: type_ for field, (type_, _) in FIELDS.items()}
        indexes |= {f"halls[].{field}": type_ for field, (type_, _) in HALLS.items()}
        for name, payload_indexes in (("contract-indexed", indexes), ("contract-plain", {})):
            spec = CollectionSpec(name, DIMENSION, "f" * 32, payload_indexes=payload_indexes)
            runner.run(store.create_collection(spec))
        yield Opened(runner, store)
        runner.run(close_store(store_kind, store))


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(stored=points(), asked=st.lists(filters, min_size=1, max_size=8), seed=st.integers(0, 2**16))
@example([StoredPoint("p0", {"size": [1]}, random_unit(0))], [Filter(must=(Range("size", gt=0, gte=2),))], 0)
@example([StoredPoint("p0", {"size": [None]}, random_unit(0))], [Filter(must=(IsNull("size"),))], 0)
def test_every_store_finds_what_plain_python_finds(opened, store_kind, stored, asked, seed):
    async def compare(collection: str) -> None:
        store = opened.store
        await store.delete(collection, Filter(must_not=(HasId(("nobody",)),)))
        await store.upsert(collection, stored)
        question = random_unit(seed)
        for filter in asked:
            # A server without a text index looks for the text as it stands, not for its words.
            unindexed = "" if collection == "contract-plain" else "key='any'"
            if store_kind == "server" and any(f"{kind}({unindexed}" in repr(filter) for kind in TEXTUAL):
                continue
            expected = {point.id for point in stored if matches(point, filter)}
            page = await store.scroll(collection, limit=100, filter=filter)
            assert {point.id for point in page.points} == expected, filter
            assert await store.count(collection, filter) == len(expected), filter
            (hits,) = await store.query(
                collection, [VectorQuery(question, "image", 100, filter=filter, exact=True)]
            )
            cosines = {
                p.id: float(p.image @ question) for p in stored if p.id in expected and p.image is not None
            }
            assert {hit.point.id for hit in hits} == set(cosines), filter
            assert [hit.score for hit in hits] == pytest.approx(
                [cosines[hit.point.id] for hit in hits], abs=1e-4
            )
            assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert {p.id: p.payload for p in (await store.scroll(collection, limit=100)).points} == {
            p.id: p.payload for p in stored
        }

    for collection in ("contract-indexed", "contract-plain"):
        opened.runner.run(compare(collection))
