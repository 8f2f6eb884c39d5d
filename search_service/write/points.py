"""Points by id or by filter: changed and deleted, in a collection and in its successors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from clipsearch.serving.errors import FailedPrecondition
from search_service.query.calibration_cache import CalibrationCache
from search_service.query.filters import FieldChecks, fitted
from search_service.stores.collection import CollectionSpec
from search_service.stores.filters import Filter, asks_for_vectors
from search_service.stores.protocol import (
    NO_PAYLOAD,
    Listing,
    PayloadChange,
    StoredPoint,
    VectorName,
    VectorStore,
)
from search_service.write.successors import Successors

Change: TypeAlias = Callable[[CollectionSpec, Sequence[str]], Awaitable[int]]
_UPDATED_AT_ONCE = 256  # points, in one request to the store
_OVERWRITTEN_AT_ONCE = 4 * 1024 * 1024  # bytes: the payload goes to the store once a point


class PointWrites:
    """Changes and deletes points.

    Every method takes a collection's name or alias and raises NotFound if there is none,
    InvalidArgument if the filter does not fit its payload indexes or what its fields hold, and what the
    store raises.
    """

    def __init__(self, store: VectorStore, successors: Successors, calibrations: CalibrationCache) -> None:
        self._store = store
        self._successors = successors
        self._calibrations = calibrations
        self._fields = FieldChecks(store)

    async def delete(self, collection: str, selector: Sequence[str] | Filter) -> int:
        """Deletes by ids or by filter; returns how many points existed and are gone.

        The successor's are deleted too, and not counted. Raises FailedPrecondition for a filter by vectors
        where there is a successor.
        """
        spec = await self._store.resolve(collection)
        if isinstance(selector, Filter):
            selector = fitted(selector, spec.payload_indexes)
            if spec.successor and asks_for_vectors(selector):
                raise FailedPrecondition(
                    f"filter: has_vector, and collection {spec.name!r} has the successor {spec.successor!r}, "
                    "whose points may have other vectors; list the points, and delete them by their ids",
                    "SUCCESSOR_DIFFERS",
                    {"field": "filter", "collection": spec.name, "successor": spec.successor},
                )
            await self._fields.check(spec, selector, found=True, deleting=True)
            collection = spec.name  # what it was checked against: an alias may move meanwhile

        async def delete(one: CollectionSpec) -> int:
            gone = await self._store.delete(one.name, selector)
            self._calibrations.wrote(one.name, gone)
            return gone

        deleted = await self._successors.write(collection, delete)
        if not deleted and isinstance(selector, Filter):
            await self._fields.check(spec, selector, found=False)
        return deleted

    async def update_payload(
        self,
        collection: str,
        selector: Sequence[str] | Filter,
        change: PayloadChange,
        check: Callable[[Sequence[StoredPoint]], None],
    ) -> int:
        """Changes payloads of points by ids or by filter; returns how many points there were.

        The successor's are changed too, and not counted. Of a filter the points are changed some at a time,
        in the order of their UUIDs. Where fields are added `check`, which may take long, sees these points
        first and raises what refuses the change: writers at the same moment do not see each other.
        """
        size = _UPDATED_AT_ONCE
        if change.whole:
            size = max(1, min(size, _OVERWRITTEN_AT_ONCE // len(json.dumps(dict(change.set)))))

        async def update(one: CollectionSpec, ids: Sequence[str]) -> int:
            if change.set and not change.whole:
                await asyncio.to_thread(check, await self._store.get(one.name, ids))
            return await self._store.update_payload(one.name, ids, change)

        return await self._change(collection, selector, update, size)

    async def delete_vectors(
        self, collection: str, selector: Sequence[str] | Filter, names: Sequence[VectorName]
    ) -> int:
        """Removes vectors of points by ids or by filter, as `update_payload` changes payloads."""

        async def delete(one: CollectionSpec, ids: Sequence[str]) -> int:
            found = await self._store.delete_vectors(one.name, ids, names)
            self._calibrations.wrote(one.name, found)
            return found

        return await self._change(collection, selector, delete, _UPDATED_AT_ONCE)

    async def _change(self, collection: str, selector: Sequence[str] | Filter, do: Change, size: int) -> int:
        """Does it to `size` points at a time, and in the successors too; returns how many there were."""
        if not isinstance(selector, Filter):
            ids = list(dict.fromkeys(selector))
            return sum(
                [
                    await self._change_ids(collection, ids[first : first + size], do)
                    for first in range(0, len(ids), size)
                ]
            )
        spec = await self._store.resolve(collection)
        filter = fitted(selector, spec.payload_indexes)
        await self._fields.check(spec, filter, found=True, deleting=True)
        listing = Listing(spec.name, filter, NO_PAYLOAD)
        updated, cursor = 0, None
        while True:
            page = await self._store.scroll(listing, limit=size, cursor=cursor)
            ids = [point.id for point in page.points]
            if ids:
                updated += await self._change_ids(spec.name, ids, do)
            cursor = page.next_cursor
            if cursor is None:
                break
        if not updated:
            await self._fields.check(spec, filter, found=False)
        return updated

    async def _change_ids(self, collection: str, ids: Sequence[str], do: Change) -> int:
        return await self._successors.write(collection, lambda one: do(one, ids))
