"""Changes of points that stay on a Qdrant server: their payloads, and single vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import grpc
from qdrant_client import AsyncQdrantClient, models

from clipsearch.serving.errors import NotFound
from search_service.stores.checks import check_points
from search_service.stores.codec import NO_PAYLOAD
from search_service.stores.protocol import PayloadChange, StoredPoint, VectorName
from search_service.stores.qdrant.calls import Answer, Send
from search_service.stores.qdrant.convert import (
    deletion_of_vectors,
    payload_operations,
    stored_point,
    uuids,
    vector_operations,
)
from search_service.stores.qdrant.errors import check_done
from search_service.stores.qdrant.reads import Consistency, ServerReads

_NO_POINT = "no point with id"
_MOST_TRIES = 3
Found = Sequence[models.Record]


class ServerChanges(ServerReads):
    """Changes. `ordering` is that of writes, the rest what ServerReads takes."""

    def __init__(
        self,
        client: AsyncQdrantClient,
        nodes: AsyncQdrantClient,
        timeout: float,
        ordering: models.WriteOrdering,
        consistency: Consistency,
    ) -> None:
        super().__init__(client, nodes, timeout, consistency)
        self._ordering = ordering

    async def update_payload(
        self, collection: str, ids: Sequence[str], change: PayloadChange, *, timeout: float | None = None
    ) -> int:
        """Changes the payloads of those of `ids` that exist, in one request; returns how many do."""
        found = await self._change(
            collection, ids, lambda found: payload_operations(found, change), True, timeout
        )
        return len(found)

    async def update_vectors(
        self,
        collection: str,
        points: Sequence[StoredPoint],
        *,
        wait: bool = True,
        timeout: float | None = None,
    ) -> frozenset[str]:
        """Gives those of the points that exist new vectors, in one request; returns the ids of the others."""
        check_points(await self.resolve(collection, timeout=timeout), points)
        given = {point.id: point for point in points}
        found = await self._change(
            collection,
            list(given),
            lambda found: vector_operations([given[stored_point(one).id] for one in found]),
            wait,
            timeout,
        )
        return frozenset(given) - {stored_point(one).id for one in found}

    async def delete_vectors(
        self,
        collection: str,
        ids: Sequence[str],
        names: Sequence[VectorName],
        *,
        timeout: float | None = None,
    ) -> int:
        """Removes vectors of those of `ids` that exist, in one request; returns how many do."""

        def operations(found: Found) -> list[models.UpdateOperation]:
            return deletion_of_vectors([stored_point(one).id for one in found], names)

        return len(await self._change(collection, ids, operations, True, timeout))

    async def _change(
        self,
        collection: str,
        ids: Sequence[str],
        operations: Callable[[Found], list[models.UpdateOperation]],
        wait: bool,
        timeout: float | None,
    ) -> Found:
        """Makes the operations for those of `ids` that exist, which it returns.

        One that is gone by then spoils a change of vectors for all: they are looked for again.
        """

        async def send(found: Found, seconds: int) -> list[models.UpdateResult] | None:
            try:
                return await self._client.batch_update_points(
                    collection,
                    operations(found),
                    wait=wait,
                    ordering=self._ordering,
                    timeout=seconds,
                )
            except grpc.aio.AioRpcError as error:
                if _NO_POINT in (error.details() or "").lower():
                    return None
                raise

        for _ in range(_MOST_TRIES):
            there = await self._retrieve(collection, uuids(ids), NO_PAYLOAD, False, timeout)
            if not there:
                return there
            results = await self._write(collection, timeout, partial(send, there))
            if results is not None:
                check_done(not wait or all(one.status == models.UpdateStatus.COMPLETED for one in results))
                return there
        raise NotFound("collection", collection)

    async def _write(self, collection: str, timeout: float | None, send: Send[Answer]) -> Answer:
        with self._forgetting():
            return await self._calls.write(collection, timeout, send)
