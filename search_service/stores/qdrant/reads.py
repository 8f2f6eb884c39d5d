"""What QdrantServer reads of points, and which copies it reads them from."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import grpc
from qdrant_client import models

from clipsearch.serving.errors import DeadlineExceeded, NotFound, Unavailable
from search_service.deadline import store_within, time_left
from search_service.stores.bm25 import askable
from search_service.stores.codec import order_start, payload_keys
from search_service.stores.filters import Filter, HasId
from search_service.stores.protocol import (
    NO_PAYLOAD,
    Listing,
    OrderedPoints,
    Page,
    PayloadSelection,
    Question,
    ScoredPoint,
    StoredPoint,
    VectorQuery,
)
from search_service.stores.qdrant.calls import Answer, Send
from search_service.stores.qdrant.collections import ServerCollections
from search_service.stores.qdrant.convert import (
    query_message,
    scored_points,
    server_filter,
    stored_point,
    uuids,
)
from search_service.stores.qdrant.known import ANY_COPY
from search_service.stores.questions import FacetHit, FacetQuery, OrderBy

_READ_AT_ONCE = 1000
# Counts of so many values take qdrant-client 0.1 s to read, on the event loop.
_VALUES_SUMMED = 10_000
# Qdrant needs far less than their sum to tell a node that has come back how it stands.
_AGREE_AFTER_S = (0.05, 0.15, 0.3, 0.5)
_TOO_FEW_COPIES = "does not have enough active replicas"


class ServerReads(ServerCollections):
    """What QdrantServer reads of points."""

    async def get(
        self,
        collection: str,
        ids: Sequence[str],
        *,
        payload: PayloadSelection = PayloadSelection(),
        with_vectors: bool = False,
    ) -> list[StoredPoint]:
        """Those of `ids` that exist, in their order."""
        found = await self._retrieve(collection, uuids(ids), payload, with_vectors)
        return [stored_point(record) for record in found]

    async def present(self, collection: str, ids: Sequence[str]) -> frozenset[str]:
        """Those of `ids` whose points most copies of their shard have, and alike.

        A write that failed half-way leaves its point on one copy: taken for there, it would stay on that one.
        """
        if not ids:
            return frozenset()

        keys = payload_keys(NO_PAYLOAD)
        ask = partial(self._client.retrieve, collection, uuids(ids), with_payload=keys)

        async def read(timeout: int) -> list[models.Record]:
            try:
                return await ask(consistency=models.ReadConsistencyType.QUORUM, timeout=timeout)
            except grpc.aio.AioRpcError as error:
                if _TOO_FEW_COPIES not in (error.details() or ""):
                    raise
                # Those that are away are made anew of those that are there.
                return await ask(consistency=ANY_COPY, timeout=timeout)

        found = await self._read_points(collection, read)
        return frozenset(stored_point(record).id for record in found)

    async def count(self, collection: str, filter: Filter | None = None) -> int:
        """How many points match, exactly.

        Where the collection's strict mode forbids to count: an estimate of all points, and those that match
        a filter page by page.
        """
        exact = self._limits(collection).allows_exact
        if filter and not exact:
            async with store_within(self._timeout):
                return sum([len(page) async for page in self._ids(collection, filter)])
        count = partial(self._client.count, collection, server_filter(filter), exact=exact)
        return (await self._read_points(collection, count)).count

    async def facet(self, collection: str, asked: FacetQuery) -> list[FacetHit]:
        """The most frequent values: as many, and exactly, as the collection's strict mode lets pass.

        Those of one copy: of several each would be counted (1.18.3). Where nodes count exactly they tell each
        other no more values than are asked for, so that sums over shards are short: they are asked for more.
        """
        limit = asked.limit
        if asked.exact and (await self.resolve(collection)).shard_number > 1:
            limit = max(_VALUES_SUMMED, limit)
        count = partial(
            self._client.facet,
            collection,
            asked.key,
            facet_filter=server_filter(asked.filter),
            limit=self._at_most(collection, limit),
            exact=asked.exact and self._limits(collection).allows_exact,
            consistency=ANY_COPY,
        )
        found = await self._read_points(collection, count)
        return [FacetHit(hit.value, hit.count) for hit in found.hits if hit.count][: asked.limit]

    async def _ids(self, collection: str, filter: Filter) -> AsyncIterator[list[str]]:
        """The ids of all points that match, page by page."""
        listing, cursor = Listing(collection, filter, NO_PAYLOAD), None
        while True:
            page = await self.scroll(listing, limit=_READ_AT_ONCE, cursor=cursor)
            yield [point.id for point in page.points]
            if (cursor := page.next_cursor) is None:
                return

    async def scroll(self, listing: Listing, *, limit: int, cursor: str | None = None) -> Page:
        """A page of points in the order of their UUIDs.

        As many points at most as the collection's strict mode lets pass.
        """
        limit = self._at_most(listing.collection, limit)
        found, next_cursor = await self._listed(listing, limit, offset=cursor)
        return Page(tuple(point for _, point in found if point is not None), next_cursor)

    async def ordered(self, listing: Listing, order: OrderBy, *, limit: int) -> OrderedPoints:
        """The first points in the order of a field's values; as many at most as `scroll` gives."""
        by = models.OrderBy(
            key=order.key,
            direction=models.Direction.DESC if order.descending else models.Direction.ASC,
            start_from=order_start(order),
        )
        limit = self._at_most(listing.collection, limit)
        found, _ = await self._listed(listing, limit, order_by=by)
        there = [(listed.order_value or 0, point) for listed, point in found if point is not None]
        values, points = tuple(value for value, _ in there), tuple(point for _, point in there)
        return OrderedPoints(values, points, more=len(found) == limit)

    async def _listed(
        self, listing: Listing, limit: int, offset: str | None = None, order_by: models.OrderBy | None = None
    ) -> tuple[list[tuple[models.Record, StoredPoint | None]], str | None]:
        """What one copy lists and the points, None for one that is gone by then; where the next page begins.

        Where several copies must agree on a read, only the ids are that copy's, so that none is left out.
        """
        ids_only = self._consistency != ANY_COPY
        ask = partial(
            self._client.scroll,
            listing.collection,
            limit=limit,
            offset=offset,
            order_by=order_by,
            scroll_filter=server_filter(listing.filter),
            with_payload=not ids_only and payload_keys(listing.payload),
            with_vectors=not ids_only and listing.with_vectors,
            consistency=ANY_COPY,
        )
        records, following = await self._read_points(listing.collection, ask)
        next_cursor = None if following is None else str(following)
        if not ids_only:
            return [(record, stored_point(record)) for record in records], next_cursor
        keys = [str(record.id) for record in records]
        unique = list(dict.fromkeys(keys))
        read = await self._retrieve(listing.collection, unique, listing.payload, listing.with_vectors)
        there = {str(record.id): stored_point(record) for record in read}
        return [(record, there.get(key)) for record, key in zip(records, keys, strict=True)], next_cursor

    async def random(self, listing: Listing, *, limit: int) -> list[StoredPoint]:
        """So many points at random; as many at most as the collection's strict mode lets pass."""
        ask = partial(
            self._client.query_points,
            listing.collection,
            models.SampleQuery(sample=models.Sample.RANDOM),
            query_filter=server_filter(listing.filter),
            limit=self._at_most(listing.collection, limit),
            with_payload=payload_keys(listing.payload),
            with_vectors=listing.with_vectors,
            consistency=self._consistency,
        )
        found = await self._read_points(listing.collection, ask)
        return [stored_point(point) for point in found.points]

    async def query(self, collection: str, queries: Sequence[Question]) -> list[list[ScoredPoint]]:
        """Answers several questions in one request; each list best first, or as MMR chooses."""
        queries = [
            await self._with_candidates(collection, query)
            if isinstance(query, VectorQuery) and query.mmr
            else query
            for query in queries
        ]
        asked = [query for query in queries if askable(query)]
        if not asked:
            return [[] for _ in queries]

        async def ask(timeout: int) -> Any:
            message = query_message(collection, asked, consistency=self._consistency, timeout=timeout)
            return await self._client.grpc_points.QueryBatch(message, timeout=timeout)

        answers = (await self._read_points(collection, ask)).result
        if len(answers) != len(asked):
            raise Unavailable("store", f"the store answered {len(answers)} of {len(asked)} questions")
        found = iter(answers)
        return [scored_points(query, next(found).result) if askable(query) else [] for query in queries]

    async def _with_candidates(self, collection: str, query: VectorQuery) -> VectorQuery:
        """The question with MMR's candidates by name.

        Of several shards a server takes for candidates whichever come first, and not the nearest (1.18.3).
        """
        if query.mmr is None or (await self.resolve(collection)).shard_number < 2:
            return query
        limit = query.mmr.candidates
        nearest = replace(query, limit=limit, offset=0, mmr=None, payload=NO_PAYLOAD, with_vectors=False)
        [hits] = await self.query(collection, [nearest])
        these = HasId(tuple(hit.point.id for hit in hits))
        return replace(query, filter=Filter(must=(these,)), score_threshold=None)

    def _at_most(self, collection: str, limit: int) -> int:
        """As many of them as the collection's strict mode lets pass."""
        return min(limit, self._limits(collection).results or limit)

    async def _retrieve(
        self,
        collection: str,
        keys: Sequence[str],
        payload: PayloadSelection,
        with_vectors: bool,
        consistency: models.ReadConsistency | None = None,
    ) -> list[models.Record]:
        """The points with these UUIDs, in their order; `consistency` None = that of all reads.

        Copies that do not agree on one answer with nothing: while it is overwritten, where a node that was
        away reads its own copy and has not heard yet that it is behind, or since a write of it failed
        half-way. They are asked again for a second; what they do not agree on then is read from one copy.
        """
        consistency = consistency or self._consistency
        end = time.monotonic() + time_left()
        ask = partial(
            self._client.retrieve, collection, with_payload=payload_keys(payload), with_vectors=with_vectors
        )

        async def read(asked: Sequence[str], consistency: models.ReadConsistency) -> dict[str, models.Record]:
            these = partial(ask, ids=list(asked), consistency=consistency)
            return {str(record.id): record for record in await self._read_points(collection, these)}

        found = await read(keys, consistency)
        missing = [key for key in keys if key not in found]
        if missing and consistency != ANY_COPY:
            doubtful = await read(missing, ANY_COPY)
            for pause in _AGREE_AFTER_S:
                if not doubtful or time.monotonic() + 2 * pause > end:
                    break
                await asyncio.sleep(pause)
                try:
                    again = await read(list(doubtful), consistency)
                except (Unavailable, DeadlineExceeded):  # there is an answer already
                    break
                found |= again
                doubtful = {key: record for key, record in doubtful.items() if key not in again}
            found |= doubtful
        return [found[key] for key in keys if key in found]

    async def _read_points(self, collection: str, send: Send[Answer]) -> Answer:
        with self._forgetting():
            return await self._calls.read(collection, send)

    @contextmanager
    def _forgetting(self) -> Iterator[None]:
        """A collection that is gone is looked up anew: an alias may have moved on."""
        try:
            yield
        except NotFound:
            self._forget()
            raise
