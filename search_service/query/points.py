"""Points by id or by filter: read, counted and listed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from search_service.query.filters import FieldChecks, fitted
from search_service.query.list_order import Order, check_cursor, order_by, ordered_page
from search_service.stores.checks import check_index
from search_service.stores.collection import index_type
from search_service.stores.filters import Filter
from search_service.stores.protocol import Listing, Page, PayloadSelection, StoredPoint, VectorStore
from search_service.stores.questions import FACET_TYPES, ORDER_TYPES, FacetHit, FacetQuery


class PointReads:
    """Reads points.

    Every method takes a collection's name or alias and raises NotFound if there is none,
    InvalidArgument if the filter does not fit its payload indexes or what its fields hold, and what the
    store raises.
    """

    def __init__(self, store: VectorStore) -> None:
        self._store = store
        self._fields = FieldChecks(store)

    async def get(
        self, collection: str, ids: Sequence[str], *, payload: PayloadSelection, with_vectors: bool
    ) -> list[StoredPoint]:
        """Those of `ids` that exist, in their order, without repeats."""
        spec = await self._store.resolve(collection)
        return await self._store.get(spec.name, ids, payload=payload, with_vectors=with_vectors)

    async def count(self, collection: str, filter: Filter) -> int:
        """How many points match, exactly."""
        spec = await self._store.resolve(collection)
        filter = fitted(filter, spec.payload_indexes)
        matching = await self._store.count(spec.name, filter or None)
        await self._fields.check(spec, filter, found=bool(matching))
        return matching

    async def facet(
        self, collection: str, key: str, *, limit: int, filter: Filter, exact: bool
    ) -> list[FacetHit]:
        """The most frequent values of a field. Raises FailedPrecondition without the index it needs."""
        spec = await self._store.resolve(collection)
        check_index(spec, key, FACET_TYPES, "key", "counted by their values")
        filter = fitted(filter, spec.payload_indexes)
        asked = FacetQuery(key, limit, filter, exact)
        hits = await self._store.facet(spec.name, asked)
        await self._fields.check(spec, filter, found=bool(hits), misspelt=True)
        return hits

    async def page(
        self, listing: Listing, *, limit: int, cursor: str | None, order: Order | Literal["random"] | None
    ) -> Page:
        """A page of points in the order of their UUIDs, or in that of a field's values; or so many at random.

        Raises FailedPrecondition if the field has not the payload index that this needs.
        """
        spec = await self._store.resolve(listing.collection)
        filter = fitted(listing.filter, spec.payload_indexes)
        listing = replace(listing, collection=spec.name, filter=filter)
        if isinstance(order, Order):
            check_index(spec, order.key, ORDER_TYPES, "order_by.key", "listed in the order of their values")
            by = order_by(order, index_type(spec.payload_indexes[order.key]))
            page = await ordered_page(self._store, listing, by, limit, cursor)
        elif order == "random":
            found = await self._store.random(listing, limit=limit)
            page = Page(tuple(found), None)
        else:
            if cursor is not None:
                check_cursor(cursor)
            page = await self._store.scroll(listing, limit=limit, cursor=cursor)
        await self._fields.check(spec, filter, found=bool(page.points) or cursor is not None)
        return page
