"""A filter against what the points hold: fields that no point has, and values of another type, are refused.

Payloads have no schema, so a misspelt field looks like one that nothing matches, and `sku!=12` excludes
nothing where `sku` holds words. Fields with a payload index are judged by it (filter_types.py). Of the
others, those are looked into that change nothing in silence: conditions of `must_not` and `should`, and
all where nothing was found. What a field was seen to hold is remembered, so that this costs little.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from clipsearch.filters.paths import values_at
from clipsearch.serving.errors import InvalidArgument
from search_service.deadline import Deadline
from search_service.query.filter_types import hint, is_time, key_of, kinds
from search_service.stores.filters import (
    Condition,
    DatetimeRange,
    Filter,
    HasId,
    IsEmpty,
    IsNull,
    MatchValue,
    Range,
)
from search_service.stores.protocol import CollectionSpec, PayloadSelection, VectorStore

_SAMPLE = 64  # points whose values are looked at before the engine is asked about all
_MOST_KEPT = 1024
_SAID = {
    "number": "numbers",
    "word": "words",
    "boolean": "true or false",
    "date": "dates or times",
    "object": "objects with fields of their own",
}


class FieldChecks:
    """Checks filters."""

    def __init__(self, store: VectorStore) -> None:
        self._store = store
        self._seen: dict[tuple[str, str], frozenset[str]] = {}  # what fields hold, as far as it was seen

    async def check(
        self,
        spec: CollectionSpec,
        filter: Filter,
        deadline: Deadline,
        *,
        found: bool,
        misspelt: bool = False,
        deleting: bool = False,
    ) -> None:
        """Raises InvalidArgument for the first condition of another type than what its field holds.

        `found`: something matches. With `misspelt` also for one that needs a field which no point has, and
        with `deleting` for one that excludes what has it, though an empty collection refuses none.
        """
        for field, condition, clauses in _compared(filter, "filter"):
            key, excluding = key_of(condition), "must_not" in clauses
            if key in spec.payload_indexes or (found and clauses == {"must"}):
                continue
            wanted = kinds(condition)
            held = await self._held(spec.name, key, wanted, deadline)
            if held & wanted:
                continue
            if held:
                raise _mismatch(field, key, held, wanted, condition)
            if deleting if excluding else misspelt and not found:
                await self._unknown(spec.name, field, key, deadline)

    async def _unknown(self, collection: str, field: str, key: str, deadline: Deadline) -> None:
        if await self._store.count(collection, timeout=deadline.store()):
            raise InvalidArgument(
                field,
                f"no point of collection {collection!r} has a field {key!r}, and it has no payload index",
                "FILTER_FIELD_UNKNOWN",
                {"key": key, "collection": collection},
            )

    async def _held(
        self, collection: str, key: str, wanted: frozenset[str], deadline: Deadline
    ) -> frozenset[str]:
        """The kinds of values that the field holds; all of `wanted` that it holds are among them."""
        held = self._seen.get((collection, key), frozenset())
        if held & wanted:
            return held
        page = await self._store.scroll(
            collection,
            limit=_SAMPLE,
            filter=Filter(must_not=(IsEmpty(key),)),
            payload=PayloadSelection(include=(key,)),
            timeout=deadline.store(),
        )
        held = _kinds_of(value for point in page.points for value in values_at(point.payload, key))
        if page.points and page.next_cursor is not None and not held & wanted:
            held |= {kind for kind in wanted if await self._some(collection, _of_kind(key, kind), deadline)}
        if len(self._seen) >= _MOST_KEPT:
            self._seen.clear()
        if held:
            self._seen[collection, key] = held
        return held or (frozenset({"object"}) if page.points else held)

    async def _some(self, collection: str, filter: Filter, deadline: Deadline) -> bool:
        nothing = PayloadSelection(include=())
        page = await self._store.scroll(
            collection, limit=1, filter=filter, payload=nothing, timeout=deadline.store()
        )
        return bool(page.points)


def _compared(
    filter: Filter, path: str, above: frozenset[str] = frozenset()
) -> Iterator[tuple[str, Condition, frozenset[str]]]:
    """Where the filter compares a field, the condition, and the clauses that it stands in."""
    for clause in ("must", "should", "must_not"):
        clauses = above | {clause}
        for i, condition in enumerate(getattr(filter, clause)):
            here = f"{path}.{clause}[{i}]"
            if isinstance(condition, Filter) and not condition.readings:
                yield from _compared(condition, f"{here}.filter", clauses)
            elif not isinstance(condition, IsEmpty | IsNull | HasId):
                yield f"{here}.{'filter' if isinstance(condition, Filter) else 'field'}", condition, clauses


def _kinds_of(values: Iterable[object]) -> frozenset[str]:
    found = set()
    for value in values:
        if isinstance(value, bool):
            found.add("boolean")
        elif isinstance(value, int | float):
            found.add("number")
        elif isinstance(value, str):
            found.add("date" if is_time(value) else "word")
        elif isinstance(value, dict):
            found.add("object")
    return frozenset(found)


def _of_kind(key: str, kind: str) -> Filter:
    number = Range(key, gte=-sys.float_info.max)
    date = DatetimeRange(key, gte=datetime.min.replace(tzinfo=UTC))
    booleans = (MatchValue(key, True), MatchValue(key, False))
    match kind:
        case "number":
            return Filter(must=(number,))
        case "boolean":
            return Filter(should=booleans)
        case "date":
            return Filter(must=(date,))
        case _:
            return Filter(must_not=(IsEmpty(key), number, date, *booleans))


def _mismatch(
    field: str, key: str, held: frozenset[str], wanted: frozenset[str], condition: Condition
) -> InvalidArgument:
    holds = " and ".join(said for kind, said in _SAID.items() if kind in held)
    compared = " or ".join(said for kind, said in _SAID.items() if kind in wanted)
    more = hint(condition, "word" in held)
    if held == {"object"}:
        more = f"; name one of those, such as {key}.NAME"
    return InvalidArgument(
        field,
        f"{key!r} holds {holds}, not {compared}{more}",
        "FILTER_TYPE_MISMATCH",
        {"key": key},
    )
