"""QdrantServer: a Qdrant server (or cluster), over gRPC.

In steps, each a class over the one before: what is known of collections (known.py), the collections
themselves (collections.py), reads (reads.py), and here how points are written and changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import grpc
import structlog
from qdrant_client import grpc as wire
from qdrant_client import models
from qdrant_client.conversions.conversion import RestToGrpc

from clipsearch.channel.credentials import ClientTls
from clipsearch.serving.errors import Unavailable
from search_service.deadline import store_within
from search_service.stores.bm25 import WORDS, document, touches
from search_service.stores.checks import check_points
from search_service.stores.codec import VECTOR_NAMES_KEY, at_top, names_to_keep, vector_names_of
from search_service.stores.filters import Filter, HasId, IsEmpty
from search_service.stores.protocol import (
    ID_KEY,
    NO_PAYLOAD,
    VECTOR_NAMES,
    PayloadChange,
    PayloadSelection,
    StoredPoint,
    VectorName,
    point_uuid,
)
from search_service.stores.qdrant.calls import Answer, Send
from search_service.stores.qdrant.channel import check_release, open_client
from search_service.stores.qdrant.convert import (
    add_points,
    batches,
    server_filter,
    stored_point,
    uuids,
    wire_filter,
)
from search_service.stores.qdrant.errors import check_done
from search_service.stores.qdrant.known import Consistency, Ordering
from search_service.stores.qdrant.reads import ServerReads

# As an `update_filter`: of the points that are there only those that match are replaced. Servers have it
# since 1.16, as they have metadata, without which no collection is ours.
_NO_POINT_OF_OURS = Filter(must=(IsEmpty(ID_KEY),))
_NO_POINT = "no point with id"
_MOST_TRIES = 3
Found: TypeAlias = Sequence[models.Record]
Operations: TypeAlias = list[models.UpdateOperation]
_log = structlog.get_logger(__name__)


class QdrantServer(ServerReads):
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
        found = await self._calls.read("", lambda timeout: self._client.info())
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
    ) -> frozenset[str]:
        """Writes points, each whole, in requests of 256, of which a few are on their way at a time.

        With `insert_only` another request asks first what is there. What comes between the two stays
        as well, the server sees to that; it is told as written. Inserts of one point go through one node, or
        two of its copies could each keep another writer's. With `update_filter` it is asked afterwards.
        """
        spec = await self.resolve(collection)
        check_points(spec, points)
        there: frozenset[str] = frozenset()
        if insert_only:
            there = await self.present(collection, [point.id for point in points])
            points = [point for point in points if point.id not in there]

        ordering = self._ordering
        if insert_only and ordering == models.WriteOrdering.WEAK:
            ordering = models.WriteOrdering.MEDIUM

        replaced = wire_filter(_NO_POINT_OF_OURS if insert_only else update_filter)

        async def send(batch: Sequence[StoredPoint], timeout: int) -> None:
            message = wire.UpsertPoints(
                collection_name=collection,
                wait=wait,
                ordering=RestToGrpc.convert_write_ordering(ordering),
                update_filter=replaced,
                timeout=timeout,
            )
            if spec.bm25_field:  # words take 3 ms for 64 KiB
                await asyncio.to_thread(add_points, message, batch, spec.bm25_field)
            else:
                add_points(message, batch, "")
            answer = await self._client.grpc_points.Upsert(message, timeout=timeout)
            check_done(not wait or answer.result.status == wire.UpdateStatus.Completed)

        async def when_there_is_room(batch: Sequence[StoredPoint]) -> None:
            async with self._writes:
                await self._write(collection, partial(send, batch))

        try:
            async with asyncio.TaskGroup() as group:
                for batch in batches(points, spec.dimension):
                    group.create_task(when_there_is_room(batch))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        if update_filter is None or insert_only:
            return there
        others = Filter(must_not=(update_filter,))
        return await self._matching(collection, [point.id for point in points], others)

    async def delete(self, collection: str, selector: Sequence[str] | Filter) -> int:
        """Deletes by ids or by filter; returns how many points matched just before."""
        gone: models.PointsSelector
        if isinstance(selector, Filter):
            gone = models.FilterSelector(filter=server_filter(selector) or models.Filter())
            matched = await self.count(collection, selector)
        else:
            gone = models.PointIdsList(points=list(uuids(selector)))
            matched = len(await self.get(collection, selector, payload=NO_PAYLOAD))
        delete = partial(self._client.delete, collection, gone, wait=True, ordering=self._ordering)
        result = await self._write(collection, delete)
        check_done(result.status == models.UpdateStatus.COMPLETED)
        return matched

    async def update_payload(self, collection: str, ids: Sequence[str], change: PayloadChange) -> int:
        """Changes the payloads of those of `ids` that exist and match, in one request; returns how many."""
        if change.update_filter is not None:
            ids = list(await self._matching(collection, ids, change.update_filter))
        field = (await self.resolve(collection)).bm25_field
        async with store_within(self._timeout):
            found = await self._change(
                collection, ids, lambda found: _payload_operations(found, change), True
            )
            if found and field and touches(change, field):
                await self._keep_words(collection, ids, field)
        return len(found)

    async def update_vectors(
        self, collection: str, points: Sequence[StoredPoint], *, wait: bool
    ) -> frozenset[str]:
        """Gives those of the points that exist new vectors, in one request; returns the ids of the others."""
        check_points(await self.resolve(collection), points)
        given = {point.id: point for point in points}
        found = await self._change(
            collection,
            list(given),
            lambda found: _vector_operations([given[stored_point(one).id] for one in found]),
            wait,
        )
        return frozenset(given) - {stored_point(one).id for one in found}

    async def delete_vectors(self, collection: str, ids: Sequence[str], names: Sequence[VectorName]) -> int:
        """Removes vectors of those of `ids` that exist, in one request; returns how many do."""

        def operations(found: Found) -> Operations:
            return _deletion_of_vectors([stored_point(one).id for one in found], names)

        return len(await self._change(collection, ids, operations, True))

    async def _matching(self, collection: str, ids: Sequence[str], filter: Filter) -> frozenset[str]:
        """Those of `ids` that exist and match."""
        condition = Filter(must=(HasId(tuple(ids)), filter))
        async with store_within(self._timeout):
            return frozenset([id async for page in self._ids(collection, condition) for id in page])

    async def _change(
        self, collection: str, ids: Sequence[str], operations: Callable[[Found], Operations], wait: bool
    ) -> Found:
        """Makes the operations for those of `ids` that exist, which it returns.

        One that is gone by then spoils a change of vectors for all: they are looked for again.
        """
        for _ in range(_MOST_TRIES):
            there = await self._retrieve(collection, uuids(ids), NO_PAYLOAD, False)
            if not there or await self._send(collection, operations(there), wait=wait):
                return there
        raise Unavailable("store", "points went again and again while they were to be changed; try again")

    async def _send(self, collection: str, operations: Operations, *, wait: bool) -> bool:
        """Makes the operations in one request; False where one names a point that is gone."""

        async def send(timeout: int) -> list[models.UpdateResult] | None:
            try:
                return await self._client.batch_update_points(
                    collection, operations, wait=wait, ordering=self._ordering, timeout=timeout
                )
            except grpc.aio.AioRpcError as error:
                if _NO_POINT in (error.details() or "").lower():
                    return None
                raise

        results = await self._write(collection, send)
        if results is None:
            return False
        check_done(not wait or all(one.status == models.UpdateStatus.COMPLETED for one in results))
        return True

    async def _keep_words(self, collection: str, ids: Sequence[str], bm25_field: str) -> None:
        """Gives those of the points that are still there the words of their payloads.

        Another writer may change a payload between the reading of it and the writing of its words. Each looks
        again after it has written words, so that whoever writes last has seen the last payload.
        """
        part = PayloadSelection((at_top(bm25_field),))
        # One copy alone may not have heard of another writer's change yet.
        most = models.ReadConsistencyType.MAJORITY
        written: dict[str, models.SparseVector | None] = {}
        while True:
            found = await self._retrieve(collection, uuids(ids), part, False, most)
            # 3 ms for 64 KiB: not on the event loop.
            words = await asyncio.to_thread(_words_of, found, bm25_field)
            stale = {id: own for id, own in words.items() if id not in written or written[id] != own}
            if not stale:
                return
            if await self._send(collection, _word_operations(stale), wait=True):
                written |= stale

    async def _write(self, collection: str, send: Send[Answer]) -> Answer:
        with self._forgetting():
            return await self._calls.write(collection, send)


def _words_of(found: Found, bm25_field: str) -> dict[str, models.SparseVector | None]:
    words: dict[str, models.SparseVector | None] = {}
    for record in found:
        own = document(record.payload or {}, bm25_field)
        vector = models.SparseVector(indices=own.indices, values=own.values) if own else None
        words[str(record.id)] = vector
    return words


def _word_operations(words: Mapping[str, models.SparseVector | None]) -> Operations:
    """What gives points their words, and takes those of points that have none any more."""
    operations: Operations = []
    points = [models.PointVectors(id=id, vector={WORDS: own}) for id, own in words.items() if own]
    if points:
        update = models.UpdateVectors(points=points)
        operations.append(models.UpdateVectorsOperation(update_vectors=update))
    wordless = [id for id, own in words.items() if not own]
    if wordless:
        # By a filter, because a point that is gone meanwhile is an error where it is named.
        there = models.Filter(must=[models.HasIdCondition(has_id=list(wordless))])
        delete = models.DeleteVectors(filter=there, vector=[WORDS])
        operations.append(models.DeleteVectorsOperation(delete_vectors=delete))
    return operations


def _payload_operations(found: Found, change: PayloadChange) -> Operations:
    """What changes these points' payloads; they were read with the parts that are the store's own.

    By filters, because a point that is gone meanwhile is an error where it is named.
    """
    matching = server_filter(change.update_filter)
    only = [] if matching is None else [matching]
    if change.whole:
        return [_overwrite(record, change, only) for record in found]
    there = models.Filter(must=[models.HasIdCondition(has_id=[record.id for record in found]), *only])
    operations: Operations = []
    if change.delete:
        keys = models.DeletePayload(keys=list(change.delete), filter=there)
        operations.append(models.DeletePayloadOperation(delete_payload=keys))
    if change.set:
        values = models.SetPayload(payload=dict(change.set), filter=there)
        operations.append(models.SetPayloadOperation(set_payload=values))
    return operations


def _overwrite(
    record: models.Record, change: PayloadChange, only: Sequence[models.Filter]
) -> models.UpdateOperation:
    """Not of a point that was written with other vectors meanwhile: it was replaced as a whole."""
    kept = record.payload or {}
    own = {key: kept[key] for key in (ID_KEY, VECTOR_NAMES_KEY)}
    names = kept[VECTOR_NAMES_KEY].split()
    has = {name: models.HasVectorCondition(has_vector=name) for name in VECTOR_NAMES}
    there = models.Filter(
        must=[
            models.HasIdCondition(has_id=[record.id]),
            *(has[name] for name in VECTOR_NAMES if name in names),
            *only,
        ],
        must_not=[has[name] for name in VECTOR_NAMES if name not in names],
    )
    values = models.SetPayload(payload={**change.set, **own}, filter=there)
    return models.OverwritePayloadOperation(overwrite_payload=values)


def _vector_operations(points: Sequence[StoredPoint]) -> Operations:
    """What gives points that are there their new vectors."""
    vectors = [
        models.PointVectors(
            id=point_uuid(point.id),
            vector={name: getattr(point, name).tolist() for name in vector_names_of(point)},
        )
        for point in points
    ]
    update = models.UpdateVectorsOperation(update_vectors=models.UpdateVectors(points=vectors))
    return [update, *_keep_names([point.id for point in points])]


def _deletion_of_vectors(ids: Sequence[str], names: Sequence[VectorName]) -> Operations:
    """What removes vectors of points, if they are there."""
    there = server_filter(Filter(must=(HasId(tuple(ids)),)))
    gone = models.DeleteVectors(filter=there, vector=list(names))
    return [models.DeleteVectorsOperation(delete_vectors=gone), *_keep_names(ids)]


def _keep_names(ids: Sequence[str]) -> Operations:
    return [
        models.SetPayloadOperation(set_payload=models.SetPayload(payload=names, filter=server_filter(which)))
        for which, names in names_to_keep(ids)
    ]
