"""QdrantServer: a Qdrant server (or cluster), over gRPC.

What a collection was created with is kept in the collection's own metadata on the server (Qdrant
1.16 and later), under `clipsearch`. Collections without it are somebody else's: they are neither
listed nor touched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, Literal, TypeAlias

import structlog
from qdrant_client import AsyncQdrantClient, models

from clipsearch.channel.credentials import ClientTls
from clipsearch.serving.errors import Unavailable
from search_service.stores.checks import check_cursor, check_points
from search_service.stores.codec import in_pages, payload_keys, vector_sample
from search_service.stores.filters import Filter
from search_service.stores.protocol import (
    CollectionInfo,
    CollectionSpec,
    IndexType,
    Page,
    PayloadChange,
    PayloadSelection,
    ScoredPoint,
    StoredPoint,
    VectorName,
    VectorQuery,
    VectorSample,
    point_uuid,
)
from search_service.stores.qdrant import messages
from search_service.stores.qdrant.calls import PointCalls, ServerCalls
from search_service.stores.qdrant.channel import check_release, open_client
from search_service.stores.qdrant.collections import ServerCollections
from search_service.stores.qdrant.errors import check_done
from search_service.stores.qdrant.filter import server_filter
from search_service.stores.qdrant.limiter import WriteLimiter, batches
from search_service.stores.qdrant.messages import stored_point
from search_service.stores.qdrant.payloads import payload_operations
from search_service.stores.qdrant.records import ANY_COPY, Consistency, Records

Ordering: TypeAlias = Literal["weak", "medium", "strong"]

_WRITES_AT_ONCE = 8
_COUNTED_AT_ONCE = 1000
_log = structlog.get_logger(__name__)


class QdrantServer:
    """VectorStore on a server. Make one with `connect`; nothing is sent before the first call.

    `timeout` is the longest that one call may take, in seconds. `ordering` of writes and
    `consistency` of reads are what Qdrant calls so; they matter on a cluster with replicas. `wire` writes
    and searches; another is for qdrant-client's local mode alone.
    """

    shared = True

    def __init__(
        self,
        client: AsyncQdrantClient,
        timeout: float = 30.0,
        *,
        ordering: Ordering = "weak",
        consistency: Consistency = "one",
        collections_client: AsyncQdrantClient | None = None,
        wire: ModuleType = messages,
    ) -> None:
        self._client = client
        self._wire = wire
        # One connection to each node, on which calls in a row go to one node after the other.
        self._collections_client = collections_client or client
        self._calls = ServerCalls(timeout)
        self._collections = ServerCollections(self._collections_client, self._calls)
        self._points = PointCalls(self._calls, self._collections.limits, self._collections.forget)
        self._ordering = models.WriteOrdering(ordering)
        self._records = Records(client, self._points, self._collections.limits, consistency)
        self._writes = WriteLimiter(_WRITES_AT_ONCE)
        self._version = ""

    @classmethod
    def connect(
        cls,
        url: str,
        api_key: str | None,
        *,
        timeout: float,
        tls: ClientTls | None = None,
        grpc_port: int = 6334,
        channels: int = 3,
        ordering: Ordering = "weak",
        consistency: Consistency = "one",
    ) -> QdrantServer:
        """`url` is the server's REST address (http://host:6333), of which host and scheme are used.

        Calls take turns on as many connections as there are `channels`. The files of `tls` are read
        once; raises CredentialsError.
        """
        client, second = (open_client(url, api_key, timeout, tls, grpc_port, n) for n in (channels, 1))
        return cls(client, timeout, ordering=ordering, consistency=consistency, collections_client=second)

    async def ping(self) -> None:
        """Raises Unavailable if no node of the server answers, or the one that does is too old."""
        found = await self._calls.read("", None, lambda _: self._client.info())
        if found.version != self._version:
            self._version = found.version
            _log.info("Qdrant server", version=found.version)
        check_release(found.version)

    async def close(self) -> None:
        """Closes the connections."""
        await self._collections.close()
        await self._client.close()
        if self._collections_client is not self._client:
            await self._collections_client.close()

    async def resolve(self, name: str, *, timeout: float | None = None) -> CollectionSpec:
        """The settings of a collection, by name or alias; at most a second old.

        Raises FailedPrecondition for a collection that clipsearch did not make.
        """
        return await self._collections.resolve(name, timeout)

    async def create_collection(self, spec: CollectionSpec, *, timeout: float | None = None) -> None:
        """Creates a collection and its payload indexes, or nothing. Raises AlreadyExists."""
        await self._collections.create(spec, timeout)

    async def get_collection(self, collection: str, *, timeout: float | None = None) -> CollectionInfo:
        """The collection as it stands."""
        return await self._collections.describe(collection, timeout)

    async def list_collections(self, *, timeout: float | None = None) -> list[CollectionInfo]:
        """All collections made by clipsearch, by name."""
        return await self._collections.all(timeout)

    async def delete_collection(self, collection: str, *, timeout: float | None = None) -> None:
        """Deletes the collection, the aliases that point at it and the links to it as a successor."""
        await self._collections.delete(collection, timeout)

    async def set_alias(self, alias: str, collection: str | None, *, timeout: float | None = None) -> str:
        """Points `alias` at a collection, or removes it, in one step; returns where it pointed."""
        return await self._collections.set_alias(alias, collection, timeout)

    async def set_successor(self, collection: str, successor: str, *, timeout: float | None = None) -> float:
        """Keeps the successor in the collection's metadata; other services read it anew within a second."""
        return await self._collections.set_successor(collection, successor, timeout)

    async def create_payload_index(
        self, collection: str, key: str, type: IndexType, *, timeout: float | None = None
    ) -> None:
        """Adds a payload index; FailedPrecondition if the field has one of another type."""
        await self._collections.create_payload_index(collection, key, type, timeout)

    async def upsert(
        self,
        collection: str,
        points: Sequence[StoredPoint],
        *,
        wait: bool = True,
        insert_only: bool = False,
        timeout: float | None = None,
    ) -> frozenset[str]:
        """Writes points, each whole, in requests of 256, of which a few are on their way at a time.

        With `insert_only` another request asks first what is there. What comes between the two stays
        as well, the server sees to that; it is told as written.
        """
        spec = await self.resolve(collection, timeout=timeout)
        check_points(spec, points)
        there: frozenset[str] = frozenset()
        if insert_only:
            there = await self.present(collection, [point.id for point in points], timeout=timeout)
            points = [point for point in points if point.id not in there]

        async def send(batch: list[StoredPoint]) -> None:
            done = await self._points.write(
                collection,
                timeout,
                lambda seconds: self._wire.upsert(
                    self._client,
                    collection,
                    batch,
                    wait=wait,
                    insert_only=insert_only,
                    ordering=self._ordering,
                    timeout=seconds,
                ),
            )
            if wait:
                check_done(done)

        await self._writes.send(batches(points, spec.dimension), send)
        return there

    async def get(
        self,
        collection: str,
        ids: Sequence[str],
        *,
        payload: PayloadSelection = PayloadSelection(),
        with_vectors: bool = False,
        timeout: float | None = None,
    ) -> list[StoredPoint]:
        """Those of `ids` that exist, in their order."""
        found = await self._records.retrieve(collection, _uuids(ids), payload, with_vectors, timeout)
        return [stored_point(record) for record in found]

    async def present(
        self, collection: str, ids: Sequence[str], *, timeout: float | None = None
    ) -> frozenset[str]:
        """Those of `ids` whose points most copies of their shard have, and alike."""
        if not ids:
            return frozenset()
        found = await self._records.agreed(collection, _uuids(ids), timeout)
        return frozenset(stored_point(record).id for record in found)

    async def delete(
        self, collection: str, selector: Sequence[str] | Filter, *, timeout: float | None = None
    ) -> int:
        """Deletes by ids or by filter; returns how many points matched just before."""
        gone: models.PointsSelector
        if isinstance(selector, Filter):
            gone = models.FilterSelector(filter=server_filter(selector) or models.Filter())
            matched = await self.count(collection, selector, timeout=timeout)
        else:
            found = await self.get(collection, list(selector), payload=PayloadSelection(()), timeout=timeout)
            gone = models.PointIdsList(points=[point_uuid(point_id) for point_id in selector])
            matched = len(found)
        result = await self._points.write(
            collection,
            timeout,
            lambda seconds: self._client.delete(
                collection, gone, wait=True, ordering=self._ordering, timeout=seconds
            ),
        )
        check_done(result.status == models.UpdateStatus.COMPLETED)
        return matched

    async def update_payload(
        self, collection: str, ids: Sequence[str], change: PayloadChange, *, timeout: float | None = None
    ) -> int:
        """Changes the payloads of those of `ids` that exist, in one request; returns how many do."""
        found = await self._records.retrieve(collection, _uuids(ids), PayloadSelection(()), False, timeout)
        if found:
            operations = payload_operations(found, change)
            results = await self._points.write(
                collection,
                timeout,
                lambda seconds: self._client.batch_update_points(
                    collection, operations, wait=True, ordering=self._ordering, timeout=seconds
                ),
            )
            check_done(all(result.status == models.UpdateStatus.COMPLETED for result in results))
        return len(found)

    async def count(
        self, collection: str, filter: Filter | None = None, *, timeout: float | None = None
    ) -> int:
        """How many points match, exactly.

        Where the collection's strict mode forbids to count: an estimate of all points, and those that match
        a filter page by page.
        """
        exact = self._collections.limits(collection).allows_exact
        if filter and not exact:
            return await self._counted_in_pages(collection, filter, timeout)
        condition = server_filter(filter)
        counted = await self._points.read(
            collection,
            timeout,
            lambda seconds: self._client.count(collection, condition, exact=exact, timeout=seconds),
        )
        return counted.count

    async def _counted_in_pages(self, collection: str, filter: Filter, timeout: float | None) -> int:
        counted, cursor = 0, None
        async with asyncio.timeout(timeout):
            while True:
                page = await self.scroll(
                    collection,
                    limit=_COUNTED_AT_ONCE,
                    cursor=cursor,
                    filter=filter,
                    payload=PayloadSelection(()),
                )
                counted, cursor = counted + len(page.points), page.next_cursor
                if cursor is None:
                    return counted

    async def scroll(
        self,
        collection: str,
        *,
        limit: int,
        cursor: str | None = None,
        filter: Filter | None = None,
        payload: PayloadSelection = PayloadSelection(),
        with_vectors: bool = False,
        timeout: float | None = None,
    ) -> Page:
        """A page of points in the order of their UUIDs. InvalidArgument for a bad cursor.

        Where several copies must agree on a read, its ids come from one copy, so that none is left out.
        """
        check_cursor(cursor)
        condition = server_filter(filter)
        ids_only = self._records.consistency != ANY_COPY
        records, following = await self._records.scroll(
            collection,
            timeout,
            ANY_COPY,
            limit,
            offset=cursor,
            scroll_filter=condition,
            with_payload=False if ids_only else payload_keys(payload),
            with_vectors=with_vectors and not ids_only,
        )
        if ids_only:
            ids = [str(record.id) for record in records]
            records = await self._records.retrieve(collection, ids, payload, with_vectors, timeout)
        return Page(
            tuple(stored_point(record) for record in records), None if following is None else str(following)
        )

    async def sample(
        self, collection: str, name: VectorName, limit: int, *, timeout: float | None = None
    ) -> VectorSample:
        """Up to `limit` vectors of the name, those of the points whose UUIDs come first."""
        spec = await self.resolve(collection, timeout=timeout)

        async def page(amount: int, cursor: Any) -> tuple[VectorSample, Any]:
            records, following = await self._records.scroll(
                collection,
                timeout,
                self._records.consistency,
                amount,
                offset=cursor,
                scroll_filter=models.Filter(must=[models.HasVectorCondition(has_vector=name)]),
                with_payload=payload_keys(PayloadSelection(())),
                with_vectors=[name],
            )
            return vector_sample([stored_point(one) for one in records], name, spec.dimension), following

        return await in_pages(page, limit)

    async def calibration(self, collection: str, *, timeout: float | None = None) -> Mapping[str, Any] | None:
        """The calibration in the collection's metadata; what another process kept is seen within a second."""
        return await self._collections.calibration(collection, timeout)

    async def set_calibration(
        self, collection: str, calibration: Mapping[str, Any], *, timeout: float | None = None
    ) -> None:
        """Keeps it in the collection's metadata, under a key of its own."""
        await self._collections.set_calibration(collection, calibration, timeout)

    async def query(
        self, collection: str, queries: Sequence[VectorQuery], *, timeout: float | None = None
    ) -> list[list[ScoredPoint]]:
        """Answers several questions in one request; each list best first."""
        answers = await self._points.read(
            collection,
            timeout,
            lambda seconds: self._wire.query(
                self._client, collection, queries, consistency=self._records.consistency, timeout=seconds
            ),
        )
        if len(answers) != len(queries):
            raise Unavailable("store", f"the store answered {len(answers)} of {len(queries)} questions")
        return list(answers)


def _uuids(ids: Sequence[str]) -> list[str]:
    """The engine's point ids, without repeats."""
    return list(dict.fromkeys(point_uuid(point_id) for point_id in ids))
