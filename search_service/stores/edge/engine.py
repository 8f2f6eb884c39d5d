"""The process that owns a collection's shard: does what the service asks, one thing after another.

    python -m search_service.stores.edge.engine PARENT SOCKET

PARENT is the service's process id, SOCKET an inherited socket. To each request there is one answer, a
result or a `Fault`. The process ends when the socket does. It can die at any moment without losing a
write that it acknowledged: those are in the engine's write-ahead log, in the operating system's hands,
and the service has the log written to disk.

It is a process of its own because the engine keeps Python's global lock in every call, however long: a
search of 50,000 vectors 5 ms, a payload index over them 255 ms, loading them 250 ms.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys
from collections.abc import Sequence
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import IO, Any

import qdrant_edge as qe

from clipsearch.batches import batched
from search_service.stores.bm25 import WORDS, askable, touches
from search_service.stores.codec import at_top, order_start
from search_service.stores.collection import CollectionSpec, PayloadIndex
from search_service.stores.edge.codec import PackedPoint, ShardInfo, encode, fault_of, read, total_bytes
from search_service.stores.edge.convert import (
    create_index,
    deletion_of_vectors,
    edge_filter,
    engine_config,
    engine_point,
    engine_query,
    payload_operations,
    payload_selector,
    scored_points,
    stored_point,
    vector_operations,
    word_operations,
)
from search_service.stores.filters import Filter, HasId, HasVector
from search_service.stores.protocol import (
    NO_PAYLOAD,
    VECTOR_NAMES,
    Listing,
    OrderedPoints,
    Page,
    PayloadChange,
    PayloadSelection,
    Question,
    ScoredPoint,
    StoredPoint,
    VectorName,
    point_uuid,
)
from search_service.stores.questions import FacetHit, FacetQuery, OrderBy

WRITES = frozenset(
    {
        "upsert",
        "delete",
        "update_payload",
        "update_vectors",
        "delete_vectors",
        "create_payload_index",
        "delete_payload_index",
    }
)
# A tenth of what others want of a full machine. At 19 it is a sixtieth: 2,000 vectors took 104 s on two
# cores that ten processes wanted, and as long as there is no index, searches want more of them.
_NICE = 10
_PR_SET_PDEATHSIG = 1
_HITS_AT_ONCE = 2000


class Engine:
    """A collection's shard once it is open, and every operation on it. Everything blocks."""

    _shard: qe.EdgeShard

    def __init__(self) -> None:
        self._record: IO[bytes] | None = None
        self._bm25_field = ""

    def answer(self, request: tuple[str, tuple[Any, ...]]) -> object:
        """The result of a method, or the Fault."""
        method, arguments = request
        try:
            result = getattr(self, method)(*arguments)
        except Exception as error:
            return fault_of(error)
        if self._record is not None and method in WRITES:
            try:
                self._record.write(encode(request))
            except OSError:  # the write is done all the same: the record is given up instead
                self.stop_recording()
        return result

    def ping(self) -> None:
        """Shows that the process works."""

    def create(self, path: Path, spec: CollectionSpec, index_threshold: int) -> None:
        """Makes a shard, which is not open then. `index_threshold`: vectors of a segment worth a graph."""
        path.mkdir(parents=True)
        shard = qe.EdgeShard.create(str(path), engine_config(spec, index_threshold))
        try:
            for key, index in spec.payload_indexes.items():
                shard.update(create_index(key, index))
            shard.flush()
        finally:
            shard.close()

    def optimize(self, path: Path, spec: CollectionSpec, index_threshold: int) -> bool:
        """Builds the index of a shard that nobody has open; False if there was nothing to do.

        At a low priority, from now on that of this process.
        """
        os.nice(_NICE)
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))  # takes no core from who wakes up
        # The threshold is today's, not that of the collection's creation.
        shard = qe.EdgeShard.load(str(path), engine_config(spec, index_threshold))
        changed = shard.optimize()
        shard.flush()
        shard.close()
        return changed

    def open(self, path: Path, bm25_field: str) -> int:
        """Opens a shard, whose files belong to this process until `shut`; returns its points."""
        self._shard = qe.EdgeShard.load(str(path))
        self._bm25_field = bm25_field
        return self.count(None)

    def shut(self) -> None:
        """Flushes and lets go of the files."""
        self._shard.flush()
        self._shard.close()

    def flush(self) -> None:
        """Writes the segments to disk and drops what the write-ahead log held for them."""
        self._shard.flush()

    def warm(self, dimension: int) -> None:
        """Asks a question of each vector name, so that the first caller finds the vectors in memory."""
        for name in VECTOR_NAMES:
            nearest = qe.Query.Nearest([1.0] * dimension, using=name)
            self._shard.query(qe.QueryRequest(limit=1, query=nearest))

    def record(self, path: Path) -> None:
        """Notes every write from now on in a file, for `replay`."""
        self._record = path.open("wb", buffering=0)

    def recorded(self) -> int:
        """How many bytes the record has."""
        if self._record is None:
            raise RuntimeError("writes are not recorded")
        return self._record.tell()

    def stop_recording(self) -> None:
        """Notes no more."""
        if self._record is not None:
            self._record.close()
            self._record = None

    def replay(self, path: Path, start: int, end: int) -> None:
        """Does the writes of another engine's record, from one position to another, again."""
        with path.open("rb") as file:
            file.seek(start)
            while file.tell() < end:
                method, arguments = read(file)
                getattr(self, method)(*arguments)

    def info(self) -> ShardInfo:
        """The collection as it stands."""
        image, text = (self.count(Filter(must=(HasVector(name),))) for name in VECTOR_NAMES)
        indexed = self._shard.info().indexed_vectors_count
        if self._bm25_field:  # of which the engine counts all
            having = qe.Filter(must=[qe.HasVectorCondition(WORDS)])
            indexed = max(0, indexed - self._shard.count(qe.CountRequest(exact=True, filter=having)))
        return ShardInfo(self.count(None), image, text, indexed)

    def create_payload_index(self, key: str, index: PayloadIndex) -> None:
        """Adds an index; nothing, if the shard has it already."""
        self._shard.update(create_index(key, index))

    def delete_payload_index(self, key: str) -> None:
        """Removes an index; nothing, if the shard has none."""
        self._shard.update(qe.UpdateOperation.delete_field_index(key))

    def upsert(
        self, points: Sequence[PackedPoint], insert_only: bool, update_filter: Filter | None = None
    ) -> frozenset[str]:
        """Writes points whole, as one operation of the write-ahead log; of one id the last.

        With `insert_only` those that are there stay, with `update_filter` those that do not match it;
        returns their ids.
        """
        last = {point[0]: point for point in points}
        there: frozenset[str] = frozenset()
        if insert_only:
            keys: dict[Any, str] = {point_uuid(point_id): point_id for point_id in last}
            there = frozenset(keys[str(r.id)] for r in self._shard.retrieve(list(keys), False, False))
        elif update_filter is not None:
            others = Filter(must_not=(update_filter,))
            there = frozenset(stored_point(record).id for record in self._matching(list(last), others))
        field = self._bm25_field
        new = [engine_point(point, field) for point_id, point in last.items() if point_id not in there]
        if new:
            self._shard.update(qe.UpdateOperation.upsert_points(new))
        return there

    def get(self, ids: Sequence[str], payload: PayloadSelection, with_vectors: bool) -> list[StoredPoint]:
        """Those of `ids` that exist, in their order."""
        wanted: list[Any] = list(dict.fromkeys(point_uuid(point_id) for point_id in ids))
        records = self._shard.retrieve(wanted, payload_selector(payload), with_vectors)
        found = {str(record.id): record for record in records}
        return [stored_point(found[key]) for key in wanted if key in found]

    def delete(self, selector: Sequence[str] | Filter) -> int:
        """Deletes by ids or by filter; returns how many points existed."""
        if isinstance(selector, Filter):
            count = self.count(selector)
            operation = qe.UpdateOperation.delete_points_by_filter(edge_filter(selector) or qe.Filter())
        else:
            keys: list[Any] = list({point_uuid(point_id) for point_id in selector})
            count = len(self._shard.retrieve(keys, False, False))
            operation = qe.UpdateOperation.delete_points(keys)
        if count:
            self._shard.update(operation)
        return count

    def update_payload(self, ids: Sequence[str], change: PayloadChange) -> int:
        """Changes the payloads of those of `ids` that exist and match; returns how many do."""
        if change.update_filter is not None:
            there = self._matching(ids, change.update_filter)
        else:
            wanted: list[Any] = list({point_uuid(point_id) for point_id in ids})
            there = self._shard.retrieve(wanted, payload_selector(NO_PAYLOAD), False)
        for operation in payload_operations(there, change) if there else ():
            self._shard.update(operation)
        if there and self._bm25_field and touches(change, self._bm25_field):
            part = payload_selector(PayloadSelection((at_top(self._bm25_field),)))
            changed = self._shard.retrieve([record.id for record in there], part, False)
            for operation in word_operations(changed, self._bm25_field):
                self._shard.update(operation)
        return len(there)

    def update_vectors(self, points: Sequence[PackedPoint]) -> frozenset[str]:
        """Gives those of the points that exist new vectors; returns the ids of the others."""
        there = {point.id for point in self.get([id for id, *_ in points], NO_PAYLOAD, False)}
        found = [point for point in points if point[0] in there]
        for operation in vector_operations(found) if found else ():
            self._shard.update(operation)
        return frozenset(id for id, *_ in points if id not in there)

    def delete_vectors(self, ids: Sequence[str], names: Sequence[VectorName]) -> int:
        """Removes vectors of those of `ids` that exist; returns how many do."""
        there = [point.id for point in self.get(ids, NO_PAYLOAD, False)]
        for operation in deletion_of_vectors(there, names) if there else ():
            self._shard.update(operation)
        return len(there)

    def _matching(self, ids: Sequence[str], filter: Filter) -> list[qe.Record]:
        """Those of `ids` that exist and match."""
        condition = edge_filter(Filter(must=(HasId(tuple(ids)), filter)))
        fields = payload_selector(NO_PAYLOAD)
        return self._shard.scroll(
            qe.ScrollRequest(limit=len(ids), filter=condition, with_payload=fields, with_vector=False)
        )[0]

    def count(self, filter: Filter | None) -> int:
        """How many points match, exactly."""
        return self._shard.count(qe.CountRequest(exact=True, filter=edge_filter(filter)))

    def facet(self, asked: FacetQuery) -> list[FacetHit]:
        """The most frequent values of an indexed field."""
        condition = edge_filter(asked.filter)
        request = qe.FacetRequest(asked.key, limit=asked.limit, exact=asked.exact, filter=condition)
        hits = self._shard.facet(request).hits
        return [FacetHit(hit.value, hit.count) for hit in hits if hit.count]  # some no point has now

    def scroll(self, listing: Listing, limit: int, cursor: str | None) -> Page:
        """A page in the order of the points' UUIDs."""
        asked = qe.ScrollRequest(
            offset=cursor,
            limit=limit,
            filter=edge_filter(listing.filter),
            with_payload=payload_selector(listing.payload),
            with_vector=listing.with_vectors,
        )
        records, following = self._shard.scroll(asked)
        points = tuple(stored_point(record) for record in records)
        return Page(points, None if following is None else str(following))

    def ordered(self, listing: Listing, order: OrderBy, limit: int) -> OrderedPoints:
        """The first points in the order of an indexed field's values."""
        start: Any = order_start(order)
        by = qe.OrderBy(
            order.key,
            qe.Direction.Desc if order.descending else qe.Direction.Asc,
            start.isoformat() if isinstance(start, datetime) else start,
        )
        asked = qe.ScrollRequest(
            limit=limit,
            order_by=by,
            filter=edge_filter(listing.filter),
            with_payload=payload_selector(listing.payload),
            with_vector=listing.with_vectors,
        )
        records, _ = self._shard.scroll(asked)
        values: list[Any] = [record.order_value for record in records]
        return OrderedPoints(tuple(values), tuple(map(stored_point, records)), len(records) == limit)

    def random(self, listing: Listing, limit: int) -> list[StoredPoint]:
        """So many points at random."""
        asked = qe.QueryRequest(
            limit=limit,
            query=qe.Sample.Random,
            filter=edge_filter(listing.filter),
            with_payload=payload_selector(listing.payload),
            with_vector=listing.with_vectors,
        )
        return [stored_point(point) for point in self._shard.query(asked)]

    def query(self, queries: Sequence[Question]) -> list[list[ScoredPoint]]:
        """Answers all questions, in one pass of the engine where they are not for very many hits.

        Raises AnswerTooLarge.
        """
        answers: list[list[ScoredPoint]] = []
        size = 0
        parts = list(batched(queries, len(queries), _HITS_AT_ONCE, attrgetter("limit")))
        for part in parts:
            asked = [engine_query(query) for query in part if askable(query)]
            found = iter(self._shard.query_batch(qe.QueryBatchRequest(asked)) if asked else ())
            answered = [scored_points(query, next(found)) if askable(query) else [] for query in part]
            if len(parts) > 1:
                size = total_bytes(answered, size)
            answers += answered
        return answers


def become_child(parent: int) -> None:
    """Leaves it to the process `parent` to end this one, also on a Ctrl-C, and dies with it.

    Where the operating system has no signal for that, the end of the socket tells.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked for the signal
        sys.exit("the service has gone")


def main() -> None:
    """Serves until the socket ends."""
    become_child(int(sys.argv[1]))
    engine = Engine()
    with (
        contextlib.suppress(EOFError, ConnectionError),
        socket.socket(fileno=int(sys.argv[2])) as connection,
        connection.makefile("rb") as requests,
    ):
        while True:
            connection.sendall(encode(engine.answer(read(requests))))


if __name__ == "__main__":
    main()
