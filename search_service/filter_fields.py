"""A filter against the fields that there are: one on a field that no point has is refused.

Payloads have no schema, so a misspelt field looks like one that nothing matches. Only a search that
found nothing is looked into: it costs others nothing, and what declares its payload indexes is never
refused, since an indexed field is known before a point has it.
"""

from __future__ import annotations

from collections.abc import Iterator

from clipsearch.serving.errors import InvalidArgument
from search_service.deadline import Deadline
from search_service.filters import Filter, HasId, IsEmpty, IsNull
from search_service.stores.protocol import CollectionSpec, PayloadSelection, VectorStore


async def check_fields(
    store: VectorStore, spec: CollectionSpec, filter: Filter, deadline: Deadline, at_most: float
) -> None:
    """Raises InvalidArgument for the first condition that needs a field which no point has.

    An empty collection refuses nothing.
    """
    for field, key in _needed(filter, "filter"):
        if key in spec.payload_indexes or await _some(store, spec.name, key, deadline.left(at_most=at_most)):
            continue
        if not await store.count(spec.name, timeout=deadline.left(at_most=at_most)):
            return
        raise InvalidArgument(
            f"{field}.field",
            f"no point of collection {spec.name!r} has a field {key!r}, and it has no payload index",
            "FILTER_FIELD_UNKNOWN",
            {"key": key, "collection": spec.name},
        )


def _needed(filter: Filter, place: str) -> Iterator[tuple[str, str]]:
    """Where the filter asks for a value of a field, and of which. What must not be asks for none."""
    for clause in ("must", "should"):
        for i, condition in enumerate(getattr(filter, clause)):
            here = f"{place}.{clause}[{i}]"
            if isinstance(condition, Filter):
                yield from _needed(condition, f"{here}.filter")
            elif not isinstance(condition, IsEmpty | IsNull | HasId):
                yield here, condition.key


async def _some(store: VectorStore, collection: str, key: str, timeout: float) -> bool:
    having = Filter(must_not=(IsEmpty(key),))
    nothing = PayloadSelection(include=())
    return bool(
        (await store.scroll(collection, limit=1, filter=having, payload=nothing, timeout=timeout)).points
    )
