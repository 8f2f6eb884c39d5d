"""A filter against what the points hold: another type than a field's, and a field of no point, are refused.

Without that, a range over an index of keywords would be answered with nothing, which looks like an answer.
Fields with a payload index are judged by it. Payloads have no schema, so of the others a misspelt field looks
like one that nothing matches, and `sku!=12` excludes nothing where `sku` holds words: those are looked into
that change nothing in silence, conditions of `must_not` and `should`, and all where nothing was found. What a
field was seen to hold is remembered, so that this costs little.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from clipsearch.filters.paths import values_at
from clipsearch.serving.current_call import current_tenant
from clipsearch.serving.errors import InvalidArgument
from clipsearch.serving.security.tokens import Tenant
from search_service.stores.codec import selectable
from search_service.stores.collection import (
    USUAL_TEXT,
    CollectionSpec,
    IndexType,
    PayloadIndex,
    TextIndex,
    index_type,
)
from search_service.stores.filters import (
    Condition,
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
from search_service.stores.protocol import NO_PAYLOAD, Listing, Page, PayloadSelection, VectorStore

# What the fields of a payload index hold.
_INDEXED: dict[IndexType, str] = {
    "keyword": "word",
    "tenant": "word",
    "text": "word",
    "integer": "number",
    "float": "number",
    "bool": "boolean",
    "datetime": "date",
    "geo": "place",
}
_SAMPLE = 64  # points whose values are looked at before the engine is asked about all
_MOST_KEPT = 1024
_EARTH_M = 25e6  # more than half of its circumference
_SAID = {
    "number": "numbers",
    "word": "words",
    "boolean": "true or false",
    "date": "dates or times",
    "place": "places, with lat and lon",
    "object": "objects with fields of their own",
}


def fitted(
    filter: Filter, indexes: Mapping[str, PayloadIndex], field: str = "filter", within: str = ""
) -> Filter:
    """The filter, of its readings only those that go with the payload indexes.

    `within` is the path of the objects that it is of. Raises InvalidArgument if a condition compares an
    indexed field with a value of another type.
    """
    if filter.readings:
        return _readings(filter, indexes, field, within)

    def clause(name: str, conditions: tuple[Condition, ...]) -> tuple[Condition, ...]:
        return tuple(
            _fitted(condition, indexes, f"{field}.{name}[{i}]", within)
            for i, condition in enumerate(conditions)
        )

    some = filter.min_should
    return Filter(
        clause("must", filter.must),
        clause("should", filter.should),
        clause("must_not", filter.must_not),
        min_should=some and replace(some, conditions=clause("min_should.conditions", some.conditions)),
    )


def _fitted(condition: Condition, indexes: Mapping[str, PayloadIndex], field: str, within: str) -> Condition:
    match condition:
        case Filter():
            return fitted(condition, indexes, f"{field}.filter", within)
        case Nested():
            inside = f"{within}{condition.path}"
            filter = fitted(condition.filter, indexes, f"{field}.nested.filter", inside)
            return replace(condition, filter=filter)
        case IsEmpty() | IsNull() | HasId() | HasVector() | ValuesCount():
            return condition  # hold or not whatever the type
        case _:
            key = f"{within}{condition.key}"
            if key in indexes:
                _check(condition, key, indexes[key], f"{field}.field")
            return condition


def _readings(filter: Filter, indexes: Mapping[str, PayloadIndex], field: str, within: str) -> Filter:
    fit: list[Condition] = []
    refusal: InvalidArgument | None = None
    for i, reading in enumerate(filter.should):
        try:
            fit.append(_fitted(reading, indexes, f"{field}.should[{i}]", within))
        except InvalidArgument as error:
            refusal = refusal or error
    if refusal is not None and not fit:
        raise refusal.at(field)
    # Of a day also the word would go with an index of times, which is of no use for words.
    times = [
        reading
        for reading in fit
        if indexes.get(f"{within}{_key_of(reading)}") == "datetime" and _kinds(reading) == {"date"}
    ]
    return replace(filter, should=tuple(times or fit))


def _check(condition: Condition, key: str, declared: PayloadIndex, field: str) -> None:
    index = index_type(declared)
    held, wanted = _INDEXED[index], _kinds(condition)
    for value in _values(condition):
        if held == "date" and isinstance(value, str) and not _is_time(value):
            raise InvalidArgument(
                field,
                f"{value!r} is no date or time such as 2024-05-31, which the payload index of {key!r} is for",
                "FILTER_TYPE_MISMATCH",
                {"key": key, "index_type": index},
            )
    if held not in wanted:
        raise _mismatch(field, key, frozenset({held}), wanted, condition, index)
    text = declared if isinstance(declared, TextIndex) else USUAL_TEXT
    if isinstance(condition, MatchPhrase) and index == "text" and not text.phrase_matching:
        raise InvalidArgument(
            field,
            f"{key!r} has a text index without phrase_matching, which finds no phrases",
            "FILTER_TYPE_MISMATCH",
            {"key": key, "index_type": index},
        )


def _kinds(condition: Condition) -> frozenset[str]:
    """What a condition on one field compares it with: some of the kinds in `_SAID`."""
    match condition:
        case Filter():
            decisive = condition.must or condition.should or condition.must_not
            return frozenset().union(*map(_kinds, decisive))
        case IsEmpty() | IsNull() | HasId() | HasVector() | Nested():
            return frozenset()
        case ValuesCount():
            return frozenset(_SAID)
        case GeoRadius() | GeoBoundingBox():
            return frozenset({"place"})
        case MatchText() | MatchPhrase():
            return frozenset({"word"})
        case Range():
            return frozenset({"number"})
        case DatetimeRange():
            return frozenset({"date"})
    first, *_ = values = _values(condition)
    if not isinstance(first, str):
        return frozenset({"boolean" if isinstance(first, bool) else "number"})
    return frozenset({"word", "date"} if any(map(_is_time, values)) else {"word"})


def _key_of(condition: Condition) -> str:
    """The field of a reading; "" where there is none."""
    match condition:
        case Filter():
            parts = (*condition.must, *condition.should, *condition.must_not)
            return next((key for part in parts if (key := _key_of(part))), "")
        case HasId() | HasVector() | Nested():
            return ""
        case _:
            return condition.key


def _is_time(value: object) -> bool:
    """Whether the engine takes a value for a date or time."""
    if not isinstance(value, str):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return "-" in value  # 20240531 is none to the engine


def _hint(condition: Condition, words: bool) -> str:
    """How the caller may have meant it, of a field that holds words or does not."""
    for value in _values(condition):
        if not isinstance(value, str):
            return f'; a word is written in quotes: "{str(value).lower()}"' if words else ""
        if value.lower() in ("true", "false") or value.lstrip("+-").replace(".", "", 1).isdecimal():
            return f"; without quotes {value} is none"
    return ""


def _values(condition: Condition) -> tuple[str, ...] | tuple[int, ...]:
    match condition:
        case MatchValue():
            return (condition.value,)  # type: ignore[return-value]  # one of either
        case MatchAny() | MatchExcept():
            return condition.values
        case _:
            return ()


class FieldChecks:
    """Checks filters."""

    def __init__(self, store: VectorStore) -> None:
        self._store = store
        # What fields hold, as far as it was seen, and by whom.
        self._seen: dict[tuple[Tenant | None, str, str], frozenset[str]] = {}

    async def check(
        self,
        spec: CollectionSpec,
        filter: Filter,
        *,
        found: bool,
        misspelt: bool = False,
        deleting: bool = False,
    ) -> None:
        """Raises InvalidArgument for the first condition of another type than what its field holds.

        `found`: something matches. With `misspelt` also for one that needs a field which no point has, and
        with `deleting` for one that excludes what has it, though an empty collection refuses none.
        """
        for field, key, condition, clauses in _compared(filter, "filter"):
            excluding = "must_not" in clauses
            if key in spec.payload_indexes or (found and clauses == {"must"}):
                continue
            wanted = _kinds(condition)
            held = await self._held(spec.name, key, wanted)
            if held & wanted:
                continue
            if held:
                raise _mismatch(field, key, held, wanted, condition)
            if deleting if excluding else misspelt and not found:
                await self.refuse_unknown(spec.name, field, key)

    async def sample(self, collection: str, key: str) -> Page:
        """Some of the points that have the payload field, with its values; all, if there is no next page."""
        there, its_values = Filter(must_not=(IsEmpty(key),)), PayloadSelection(include=(selectable(key),))
        return await self._store.scroll(Listing(collection, there, its_values), limit=_SAMPLE)

    async def refuse_unknown(self, collection: str, field: str, key: str) -> None:
        """Raises InvalidArgument of `field`, whose payload field no point has, if there are points."""
        if await self._store.count(collection):
            raise InvalidArgument(
                field,
                f"no point of collection {collection!r} has a field {key!r}, and it has no payload index",
                "FILTER_FIELD_UNKNOWN",
                {"key": key, "collection": collection},
            )

    async def _held(self, collection: str, key: str, wanted: frozenset[str]) -> frozenset[str]:
        """The kinds of values that the field holds; all of `wanted` that it holds are among them."""
        seen = current_tenant(), collection, key
        held = self._seen.get(seen, frozenset())
        if held & wanted:
            return held
        page = await self.sample(collection, key)
        held = kinds_of(value for point in page.points for value in values_at(point.payload, key))
        if page.points and page.next_cursor is not None and not held & wanted:
            held |= {kind for kind in wanted if await self._some(collection, of_kind(key, kind))}
        if len(self._seen) >= _MOST_KEPT:
            self._seen.clear()
        if held:
            self._seen[seen] = held
        return held or (frozenset({"object"}) if page.points else held)

    async def _some(self, collection: str, filter: Filter) -> bool:
        listing = Listing(collection, filter, NO_PAYLOAD)
        page = await self._store.scroll(listing, limit=1)
        return bool(page.points)


def _compared(
    filter: Filter, path: str, above: frozenset[str] = frozenset(), within: str = ""
) -> Iterator[tuple[str, str, Condition, frozenset[str]]]:
    """Where the filter compares a field, the field, the condition, and the clauses that it stands in."""
    some = filter.min_should.conditions if filter.min_should else ()
    for name, clause, conditions in (
        ("must", "must", filter.must),
        ("should", "should", filter.should),
        ("min_should.conditions", "should", some),
        ("must_not", "must_not", filter.must_not),
    ):
        clauses = above | {clause}
        for i, condition in enumerate(conditions):
            here = f"{path}.{name}[{i}]"
            match condition:
                case Filter(readings=False):
                    yield from _compared(condition, f"{here}.filter", clauses, within)
                case Nested():
                    inside = f"{within}{condition.path}"
                    yield from _compared(condition.filter, f"{here}.nested.filter", clauses, inside)
                case Filter():
                    if key := _key_of(condition):  # readings of what compares no field, such as ids
                        yield f"{here}.filter", f"{within}{key}", condition, clauses
                case IsEmpty() | IsNull() | HasId() | HasVector():
                    continue
                case _:
                    yield f"{here}.field", f"{within}{condition.key}", condition, clauses


def kinds_of(values: Iterable[object]) -> frozenset[str]:
    """The kinds of values that there are, some of those in `_SAID`."""
    found = set()
    for value in values:
        if isinstance(value, bool):
            found.add("boolean")
        elif isinstance(value, int | float):
            found.add("number")
        elif isinstance(value, str):
            found.add("date" if _is_time(value) else "word")
        elif isinstance(value, dict):
            found.add("place" if _is_place(value) else "object")
    return frozenset(found)


def _is_place(value: Mapping[str, object]) -> bool:
    return all(
        isinstance(degrees := value.get(axis), int | float)
        and not isinstance(degrees, bool)
        and abs(degrees) <= most
        for axis, most in (("lat", 90), ("lon", 180))
    )


def of_kind(key: str, kind: str) -> Filter:
    """That the field holds a value of this kind."""
    number = Range(key, gte=-sys.float_info.max)
    date = DatetimeRange(key, gte=datetime.min.replace(tzinfo=UTC))
    booleans = (MatchValue(key, True), MatchValue(key, False))
    place = GeoRadius(key, GeoPoint(0, 0), _EARTH_M)
    match kind:
        case "number":
            return Filter(must=(number,))
        case "boolean":
            return Filter(should=booleans)
        case "date":
            return Filter(must=(date,))
        case "place":
            return Filter(must=(place,))
        case _:
            return Filter(must_not=(IsEmpty(key), number, date, place, *booleans))


def _mismatch(
    field: str,
    key: str,
    held: frozenset[str],
    wanted: frozenset[str],
    condition: Condition,
    index: IndexType | None = None,
) -> InvalidArgument:
    holds = " and ".join(said for kind, said in _SAID.items() if kind in held)
    compared = " or ".join(said for kind, said in _SAID.items() if kind in wanted)
    more = (
        f"; name one of those, such as {key}.NAME" if held == {"object"} else _hint(condition, "word" in held)
    )
    metadata = {"key": key}
    if index is not None:
        holds += f" (its payload index is of type {index})"
        metadata["index_type"] = index
    return InvalidArgument(
        field, f"{key!r} holds {holds}, not {compared}{more}", "FILTER_TYPE_MISMATCH", metadata
    )
