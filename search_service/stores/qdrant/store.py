"""QdrantServer: a Qdrant server (or cluster), over gRPC.

In steps, each a class over the one before: what is known of collections (known.py), the collections
themselves (collections.py), reads (reads.py), changes (changes.py), and here how points are written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

import structlog
from qdrant_client import grpc as wire
from qdrant_client import models

from clipsearch.channel.credentials import ClientTls
from search_service.stores.checks import check_points
from search_service.stores.filters import Filter
from search_service.stores.protocol import NO_PAYLOAD, StoredPoint
from search_service.stores.qdrant.changes import ServerChanges
from search_service.stores.qdrant.channel import check_release, open_client
from search_service.stores.qdrant.convert import batches, server_filter, upsert_message, uuids
from search_service.stores.qdrant.errors import check_done
from search_service.stores.qdrant.known import Consistency, Ordering

_log = structlog.get_logger(__name__)


class QdrantServer(ServerChanges):
    """VectorStore on a server. Make one with `connect`; nothing is sent before the first call.

    `timeout` is the longest that one call may take, in seconds. `ordering` of writes and
    `consistency` of reads are what Qdrant calls so; they matter on a cluster with replicas.
    """

    shared = True
    _version = ""

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
        client, nodes = (open_client(url, api_key, timeout, tls, grpc_port, n) for n in (channels, 1))
        return cls(client, timeout, ordering=ordering, consistency=consistency, nodes=nodes)

    async def ping(self) -> None:
        """Raises Unavailable if no node of the server answers, or the one that does is too old."""
        found = await self._calls.read("", None, lambda timeout: self._client.info())
        if found.version != self._version:
            self._version = found.version
            _log.info("Qdrant server", version=found.version)
        check_release(found.version)

    async def upsert(
        self,
        collection: str,
        points: Sequence[StoredPoint],
        *,
        wait: bool = True,
        insert_only: bool = False,
        update_filter: Filter | None = None,
        timeout: float | None = None,
    ) -> frozenset[str]:
        """Writes points, each whole, in requests of 256, of which a few are on their way at a time.

        With `insert_only` another request asks first what is there. What comes between the two stays
        as well, the server sees to that; it is told as written. Inserts of one point go through one node, or
        two of its copies could each keep another writer's. With `update_filter` it is asked afterwards.
        """
        spec = await self.resolve(collection, timeout=timeout)
        check_points(spec, points)
        there: frozenset[str] = frozenset()
        if insert_only:
            there = await self.present(collection, [point.id for point in points], timeout=timeout)
            points = [point for point in points if point.id not in there]

        ordering = self._ordering
        if insert_only and ordering == models.WriteOrdering.WEAK:
            ordering = models.WriteOrdering.MEDIUM

        async def send(batch: Sequence[StoredPoint], timeout: int) -> None:
            make = partial(
                upsert_message,
                collection,
                batch,
                wait=wait,
                insert_only=insert_only,
                update_filter=update_filter,
                ordering=ordering,
                timeout=timeout,
                bm25_field=spec.bm25_field,
            )
            # Words take 3 ms for 64 KiB.
            message = await asyncio.to_thread(make) if spec.bm25_field else make()
            answer = await self._client.grpc_points.Upsert(message, timeout=timeout)
            check_done(not wait or answer.result.status == wire.UpdateStatus.Completed)

        async def when_there_is_room(batch: Sequence[StoredPoint]) -> None:
            async with self._writes:
                await self._write(collection, timeout, partial(send, batch))

        try:
            async with asyncio.TaskGroup() as group:
                for batch in batches(points, spec.dimension):
                    group.create_task(when_there_is_room(batch))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        if update_filter is None or insert_only:
            return there
        others = Filter(must_not=(update_filter,))
        return await self._matching(collection, [point.id for point in points], others, timeout)

    async def delete(
        self, collection: str, selector: Sequence[str] | Filter, *, timeout: float | None = None
    ) -> int:
        """Deletes by ids or by filter; returns how many points matched just before."""
        gone: models.PointsSelector
        if isinstance(selector, Filter):
            gone = models.FilterSelector(filter=server_filter(selector) or models.Filter())
            matched = await self.count(collection, selector, timeout=timeout)
        else:
            gone = models.PointIdsList(points=list(uuids(selector)))
            matched = len(await self.get(collection, selector, payload=NO_PAYLOAD, timeout=timeout))
        delete = partial(self._client.delete, collection, gone, wait=True, ordering=self._ordering)
        result = await self._write(collection, timeout, delete)
        check_done(result.status == models.UpdateStatus.COMPLETED)
        return matched
