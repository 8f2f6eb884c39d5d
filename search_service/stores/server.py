"""QdrantServer: a Qdrant server (or cluster), over gRPC.

What a collection was created with is kept in the collection's own metadata on the server (Qdrant
1.16 and later), under `clipsearch`. Collections without it are somebody else's: they are neither
listed nor touched.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Literal, TypeAlias

from qdrant_client import AsyncQdrantClient, models

from clipsearch.credentials import ClientTls
from clipsearch.serving.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    NotFound,
    Unavailable,
)
from search_service.filters import Filter
from search_service.stores.checks import check_cursor, check_name, check_points, index_conflict
from search_service.stores.protocol import (
    CollectionInfo,
    CollectionSpec,
    IndexType,
    Page,
    PayloadSelection,
    ScoredPoint,
    StoredPoint,
    VectorQuery,
    point_uuid,
)
from search_service.stores.server_channel import open_client
from search_service.stores.server_describe import describe, our_specs
from search_service.stores.server_errors import check_done, store_errors
from search_service.stores.server_filter import server_filter
from search_service.stores.server_flight import Flight, parts
from search_service.stores.server_points import NO_POINT, server_point, server_query, stored_point
from search_service.stores.server_spec import INDEX_SCHEMAS, creation, metadata, read_spec
from search_service.stores.stored import payload_keys

Ordering: TypeAlias = Literal["weak", "medium", "strong"]
Consistency: TypeAlias = Literal["one", "majority", "quorum", "all"]

_WRITES_AT_ONCE = 8
_SPEC_SECONDS = 5.0  # how long a collection's settings may be taken from memory


class QdrantServer:
    """VectorStore on a server. Make one with `connect`; nothing is sent before the first call.

    `timeout` is the longest that one call may take, in seconds. `ordering` of writes and
    `consistency` of reads are what Qdrant calls so; they matter on a cluster with replicas.
    """

    def __init__(
        self,
        client: AsyncQdrantClient,
        timeout: float = 30.0,
        *,
        ordering: Ordering = "weak",
        consistency: Consistency = "one",
    ) -> None:
        self._client = client
        self._timeout = timeout
        self._ordering = models.WriteOrdering(ordering)
        self._consistency: models.ReadConsistency = (
            1 if consistency == "one" else models.ReadConsistencyType(consistency)
        )
        self._writes = Flight(_WRITES_AT_ONCE)
        self._specs: dict[str, tuple[float, CollectionSpec]] = {}

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
        client = open_client(url, api_key, timeout, tls, grpc_port, channels)
        return cls(client, timeout, ordering=ordering, consistency=consistency)

    async def ping(self) -> None:
        """Raises Unavailable if the server does not answer."""
        async with self._calling():
            await self._client.get_collections()

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()

    async def resolve(self, name: str, *, timeout: float | None = None) -> CollectionSpec:
        """The settings of a collection, by name or alias; at most 5 s old.

        Raises FailedPrecondition for a collection that clipsearch did not make.
        """
        known = self._specs.get(name)
        if known is not None and time.monotonic() - known[0] < _SPEC_SECONDS:
            return known[1]
        async with self._calling(name, timeout):
            described = await self._client.get_collection(name)
        spec = read_spec(described)
        if spec is None:
            raise FailedPrecondition(
                f"collection {name!r} was not made by clipsearch", "COLLECTION_NOT_OURS", {"collection": name}
            )
        self._specs[name] = (time.monotonic(), spec)
        return spec

    async def create_collection(self, spec: CollectionSpec, *, timeout: float | None = None) -> None:
        """Creates a collection and its payload indexes, or nothing. Raises AlreadyExists."""
        check_name("name", spec.name)
        if spec.name in await self._aliases(timeout):
            raise AlreadyExists("collection", spec.name, taken_by="an alias")
        async with self._calling(spec.name, timeout) as seconds:
            if await self._client.collection_exists(spec.name):
                raise AlreadyExists("collection", spec.name)
            await self._client.create_collection(spec.name, **creation(spec), timeout=seconds)
            try:
                for key, type_ in spec.payload_indexes.items():
                    await self._client.create_payload_index(spec.name, key, INDEX_SCHEMAS[type_])
            except BaseException:
                await self._client.delete_collection(spec.name)
                raise
        self._specs.clear()

    async def get_collection(self, collection: str, *, timeout: float | None = None) -> CollectionInfo:
        """The collection as it stands."""
        aliases = await self._aliases(timeout)
        if collection in aliases:
            raise NotFound("collection", collection)
        return await self._describe(await self.resolve(collection, timeout=timeout), aliases, timeout)

    async def list_collections(self, *, timeout: float | None = None) -> list[CollectionInfo]:
        """All collections made by clipsearch, by name."""
        aliases = await self._aliases(timeout)
        return [await self._describe(spec, aliases, timeout) for spec in await self._all_specs(timeout)]

    async def delete_collection(self, collection: str, *, timeout: float | None = None) -> None:
        """Deletes the collection, the aliases that point at it and the links to it as a successor."""
        aliases = await self._aliases(timeout)
        if collection in aliases:
            raise NotFound("collection", collection)
        await self.resolve(collection, timeout=timeout)
        gone = [_delete_alias(alias) for alias, name in aliases.items() if name == collection]
        for spec in await self._all_specs(timeout):
            if spec.successor == collection:
                await self.set_successor(spec.name, "", timeout=timeout)
        async with self._calling(collection, timeout) as seconds:
            if gone:
                await self._client.update_collection_aliases(gone)
            await self._client.delete_collection(collection, timeout=seconds)
        self._specs.clear()

    async def set_alias(self, alias: str, collection: str | None, *, timeout: float | None = None) -> str:
        """Points `alias` at a collection, or removes it, in one step; returns where it pointed."""
        check_name("alias", alias)
        aliases = await self._aliases(timeout)
        previous = aliases.get(alias, "")
        operations: list[models.AliasOperations] = [_delete_alias(alias)] if previous else []
        if collection is not None:
            if collection in aliases:
                raise NotFound("collection", collection)
            async with self._calling(alias, timeout):
                if not previous and await self._client.collection_exists(alias):
                    raise AlreadyExists("alias", alias, taken_by="a collection")
            await self.resolve(collection, timeout=timeout)
            create = models.CreateAlias(collection_name=collection, alias_name=alias)
            operations.append(models.CreateAliasOperation(create_alias=create))
        elif not previous:
            raise NotFound("alias", alias)
        async with self._calling(alias, timeout) as seconds:
            await self._client.update_collection_aliases(operations, timeout=seconds)
        self._specs.clear()
        return previous

    async def set_successor(self, collection: str, successor: str, *, timeout: float | None = None) -> float:
        """Keeps the successor in the collection's metadata; other services read it anew within 5 s."""
        self._specs.clear()
        spec = await self.resolve(collection, timeout=timeout)
        if successor:
            await self.resolve(successor, timeout=timeout)
        async with self._calling(collection, timeout):
            linked = dataclasses.replace(spec, successor=successor)
            await self._client.update_collection(collection, metadata=metadata(linked))
        self._specs.clear()
        return _SPEC_SECONDS

    async def create_payload_index(
        self, collection: str, key: str, type: IndexType, *, timeout: float | None = None
    ) -> None:
        """Adds a payload index; FailedPrecondition if the field has one of another type."""
        self._specs.clear()
        spec = await self.resolve(collection, timeout=timeout)
        there = spec.payload_indexes.get(key)
        if there == type:
            return
        if there is not None:
            raise index_conflict(collection, key, there, type)
        grown = dataclasses.replace(spec, payload_indexes={**spec.payload_indexes, key: type})
        async with self._calling(collection, timeout) as seconds:
            result = await self._client.create_payload_index(
                collection, key, INDEX_SCHEMAS[type], wait=True, timeout=seconds
            )
            check_done(result)
            await self._client.update_collection(collection, metadata=metadata(grown))
        self._specs.clear()

    async def upsert(
        self,
        collection: str,
        points: Sequence[StoredPoint],
        *,
        wait: bool = True,
        insert_only: bool = False,
        timeout: float | None = None,
    ) -> frozenset[str]:
        """Writes points, each whole, in requests of 64, of which a few are on their way at a time.

        With `insert_only` another request asks first what is there. What comes between the two stays
        as well, the server sees to that; it is told as written.
        """
        spec = await self.resolve(collection, timeout=timeout)
        check_points(spec, points)
        there: frozenset[str] = frozenset()
        if insert_only:
            ids = [point.id for point in points]
            found = await self.get(collection, ids, payload=PayloadSelection(()), timeout=timeout)
            there = frozenset(point.id for point in found)
            points = [point for point in points if point.id not in there]
        async with self._calling(collection, timeout) as seconds:

            async def send(part: list[StoredPoint]) -> None:
                result = await self._client.upsert(
                    collection,
                    [server_point(point) for point in part],
                    wait=wait,
                    ordering=self._ordering,
                    update_filter=NO_POINT if insert_only else None,
                    timeout=seconds,
                )
                if wait:
                    check_done(result)

            await self._writes.send(parts(points, spec.dimension), send)
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
        wanted = list(dict.fromkeys(point_uuid(point_id) for point_id in ids))
        async with self._calling(collection, timeout) as seconds:
            records = await self._client.retrieve(
                collection,
                wanted,
                with_payload=payload_keys(payload),
                with_vectors=with_vectors,
                consistency=self._consistency,
                timeout=seconds,
            )
        found = {str(record.id): record for record in records}
        return [stored_point(found[key]) for key in wanted if key in found]

    async def delete(
        self, collection: str, selector: Sequence[str] | Filter, *, timeout: float | None = None
    ) -> int:
        """Deletes by ids or by filter; returns how many points matched just before."""
        if isinstance(selector, Filter):
            condition = server_filter(selector) or models.Filter()
        else:
            uuids = [point_uuid(point_id) for point_id in selector]
            condition = models.Filter(must=[models.HasIdCondition(has_id=uuids)])
        async with self._calling(collection, timeout) as seconds:
            counted = await self._client.count(collection, condition, exact=True, timeout=seconds)
            result = await self._client.delete(
                collection,
                models.FilterSelector(filter=condition),
                wait=True,
                ordering=self._ordering,
                timeout=seconds,
            )
        check_done(result)
        return counted.count

    async def count(
        self, collection: str, filter: Filter | None = None, *, timeout: float | None = None
    ) -> int:
        """How many points match, exactly."""
        async with self._calling(collection, timeout) as seconds:
            counted = await self._client.count(collection, server_filter(filter), exact=True, timeout=seconds)
        return counted.count

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
        """A page of points in the order of their UUIDs. InvalidArgument for a bad cursor."""
        check_cursor(cursor)
        async with self._calling(collection, timeout) as seconds:
            records, following = await self._client.scroll(
                collection,
                scroll_filter=server_filter(filter),
                limit=limit,
                offset=cursor,
                with_payload=payload_keys(payload),
                with_vectors=with_vectors,
                consistency=self._consistency,
                timeout=seconds,
            )
        points = tuple(stored_point(record) for record in records)
        return Page(points, None if following is None else str(following))

    async def query(
        self, collection: str, queries: Sequence[VectorQuery], *, timeout: float | None = None
    ) -> list[list[ScoredPoint]]:
        """Answers several questions in one request; each list best first."""
        async with self._calling(collection, timeout) as seconds:
            answers = await self._client.query_batch_points(
                collection,
                [server_query(query) for query in queries],
                consistency=self._consistency,
                timeout=seconds,
            )
        if len(answers) != len(queries):
            raise Unavailable("store", f"the store answered {len(answers)} of {len(queries)} questions")
        return [[ScoredPoint(stored_point(hit), hit.score) for hit in answer.points] for answer in answers]

    @asynccontextmanager
    async def _calling(self, collection: str = "", timeout: float | None = None) -> AsyncIterator[int]:
        """Calls of one operation, with our errors and deadline.

        Yields the seconds to hand to the server: it takes whole ones, so the exact deadline is kept here.
        """
        seconds = self._timeout if timeout is None else min(timeout, self._timeout)
        try:
            with store_errors(collection):
                async with asyncio.timeout(seconds):
                    yield max(1, math.ceil(seconds))
        except TimeoutError:
            raise DeadlineExceeded("the store did not answer in time") from None

    async def _aliases(self, timeout: float | None) -> dict[str, str]:
        async with self._calling(timeout=timeout):
            found = await self._client.get_aliases()
        return {entry.alias_name: entry.collection_name for entry in found.aliases}

    async def _all_specs(self, timeout: float | None) -> list[CollectionSpec]:
        """Of all collections made by clipsearch, by name."""
        async with self._calling(timeout=timeout):
            return await our_specs(self._client)

    async def _describe(
        self, spec: CollectionSpec, aliases: dict[str, str], timeout: float | None
    ) -> CollectionInfo:
        async with self._calling(spec.name, timeout):
            return await describe(self._client, spec, aliases)


def _delete_alias(alias: str) -> models.DeleteAliasOperation:
    return models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))
