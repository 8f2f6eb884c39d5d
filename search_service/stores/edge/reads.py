"""What QdrantEdge reads of points: each call is one of an engine's (engine.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clipsearch.serving.errors import CollectionDamaged, NotFound
from search_service.stores.edge.collection import EdgeCollection
from search_service.stores.filters import Filter
from search_service.stores.protocol import (
    NO_PAYLOAD,
    Listing,
    OrderedPoints,
    Page,
    PayloadSelection,
    Question,
    ScoredPoint,
    StoredPoint,
    VectorStore,
)
from search_service.stores.questions import FacetHit, FacetQuery, OrderBy


class EdgeReads(VectorStore):
    """Reads of the collections in service."""

    _live: dict[str, EdgeCollection]

    async def get(
        self,
        collection: str,
        ids: Sequence[str],
        *,
        payload: PayloadSelection = PayloadSelection(),
        with_vectors: bool = False,
    ) -> list[StoredPoint]:
        return list(await self._read(collection, "get", tuple(ids), payload, with_vectors))

    async def present(self, collection: str, ids: Sequence[str]) -> frozenset[str]:
        found = await self.get(collection, ids, payload=NO_PAYLOAD)
        return frozenset(point.id for point in found)

    async def count(self, collection: str, filter: Filter | None = None) -> int:
        return int(await self._read(collection, "count", filter))

    async def facet(self, collection: str, asked: FacetQuery) -> list[FacetHit]:
        return list(await self._read(collection, "facet", asked))

    async def scroll(self, listing: Listing, *, limit: int, cursor: str | None = None) -> Page:
        page: Page = await self._read(listing.collection, "scroll", listing, limit, cursor)
        return page

    async def ordered(self, listing: Listing, order: OrderBy, *, limit: int) -> OrderedPoints:
        found: OrderedPoints = await self._read(listing.collection, "ordered", listing, order, limit)
        return found

    async def random(self, listing: Listing, *, limit: int) -> list[StoredPoint]:
        return list(await self._read(listing.collection, "random", listing, limit))

    async def query(self, collection: str, queries: Sequence[Question]) -> list[list[ScoredPoint]]:
        return list(await self._read(collection, "query", tuple(queries)))

    def _get(self, collection: str) -> EdgeCollection:
        live = self._live.get(collection)
        if live is None:
            raise NotFound("collection", collection)
        if live.damage:
            raise CollectionDamaged(collection, live.damage)
        return live

    async def _read(self, collection: str, method: str, *arguments: Any) -> Any:
        return await self._get(collection).read(method, *arguments)
