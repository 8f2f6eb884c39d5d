"""One collection on Qdrant Edge: its shard, and every operation on it.

Everything here blocks, and the engine keeps Python's global lock in every call, however long: a
search of 50,000 vectors 5 ms, a payload index over them 255 ms, loading them 250 ms. So this runs
in a process of its own (engine.py), never in the one that serves.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import qdrant_edge as qe

from search_service.stores.codec import vector_sample
from search_service.stores.edge.codec import PackedPoint, ShardInfo
from search_service.stores.edge.convert import (
    changed_payload,
    create_index,
    edge_filter,
    engine_config,
    engine_point,
    engine_query,
    index_path,
    payload_selector,
    stored_point,
)
from search_service.stores.edge.files import (
    FIRST_SHARD,
    disk_bytes,
    read_spec,
    set_current_shard,
    write_spec,
)
from search_service.stores.filters import Filter
from search_service.stores.protocol import (
    VECTOR_NAMES,
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


class Shard:
    """An open collection. Its files belong to this process until `close`."""

    def __init__(self, folder: Path, shard: str) -> None:
        self._folder = folder
        self._spec = read_spec(folder)
        self._shard = qe.EdgeShard.load(str(folder / shard))

    @staticmethod
    def create(folder: Path, spec: CollectionSpec, index_threshold: int) -> None:
        """Fills an empty folder. `index_threshold`: vectors of a segment worth an HNSW graph."""
        path = folder / FIRST_SHARD
        path.mkdir(parents=True)
        shard = qe.EdgeShard.create(str(path), engine_config(spec, index_threshold))
        try:
            for key, type_ in spec.payload_indexes.items():
                shard.update(create_index(key, type_))
            shard.flush()
        finally:
            shard.close()
        write_spec(folder, spec)
        set_current_shard(folder, FIRST_SHARD)

    @staticmethod
    def optimize(path: Path, index_threshold: int) -> bool:
        """Builds the index of a shard that nobody has open; False if there was nothing to do."""
        # The threshold is today's, not that of the collection's creation.
        shard = qe.EdgeShard.load(str(path), engine_config(read_spec(path.parent), index_threshold))
        changed = shard.optimize()
        shard.flush()
        shard.close()
        return changed

    def close(self) -> None:
        """Flushes and lets go of the files."""
        self._shard.flush()
        self._shard.close()

    def flush(self) -> None:
        """Writes the segments to disk and drops what the write-ahead log held for them."""
        self._shard.flush()

    def warm(self) -> None:
        """Asks a question of each vector name, so that the first caller finds the vectors in memory."""
        numbers = [1.0] * self._spec.dimension
        for name in VECTOR_NAMES:
            self._shard.query(qe.QueryRequest(limit=1, query=qe.Query.Nearest(numbers, using=name)))

    def info(self) -> ShardInfo:
        """The collection as it stands."""
        engine = self._shard.info()
        vectors = {name: self._count(qe.Filter(must=[qe.HasVectorCondition(name)])) for name in VECTOR_NAMES}
        return ShardInfo(
            points=self._count(None),
            image_vectors=vectors["image"],
            text_vectors=vectors["text"],
            indexed_vectors=engine.indexed_vectors_count,
            disk_bytes=disk_bytes(self._folder),
        )

    def create_payload_index(self, key: str, type_: IndexType) -> IndexType:
        """Adds an index to the shard and to the settings; returns the type of the one that is there now.

        The settings may have an index that the shard lacks: when writes are done again on a copy.
        """
        there = self._spec.payload_indexes.get(key, type_)
        if there != type_:
            return there
        if index_path(key, type_) not in self._shard.info().payload_schema:
            self._shard.update(create_index(key, type_))
        kept = read_spec(self._folder)  # the service may have written another successor into it
        indexes = {**kept.payload_indexes, key: type_}
        self._spec = dataclasses.replace(kept, payload_indexes=indexes)
        if self._spec != kept:
            write_spec(self._folder, self._spec)
        return type_

    def upsert(self, points: Sequence[PackedPoint], insert_only: bool = False) -> frozenset[str]:
        """Writes points whole, as one operation of the write-ahead log; of one id the last.

        With `insert_only` those that are there stay; returns their ids.
        """
        last = {point[0]: point for point in points}
        there: frozenset[str] = frozenset()
        if insert_only:
            keys: dict[Any, str] = {point_uuid(point_id): point_id for point_id in last}
            there = frozenset(keys[str(r.id)] for r in self._shard.retrieve(list(keys), False, False))
        new = [engine_point(point) for point_id, point in last.items() if point_id not in there]
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
            condition = edge_filter(selector) or qe.Filter()
            count = self._count(condition)
            operation = qe.UpdateOperation.delete_points_by_filter(condition)
        else:
            keys: list[Any] = list({point_uuid(point_id) for point_id in selector})
            count = len(self._shard.retrieve(keys, False, False))
            operation = qe.UpdateOperation.delete_points(keys)
        if count:
            self._shard.update(operation)
        return count

    def update_payload(self, ids: Sequence[str], change: PayloadChange) -> int:
        """Changes the payloads of those of `ids` that exist; returns how many do."""
        wanted: list[Any] = list({point_uuid(point_id) for point_id in ids})
        there = self._shard.retrieve(wanted, True, False)
        for record in there:
            payload = changed_payload(record, change)
            self._shard.update(qe.UpdateOperation.overwrite_payload([record.id], payload))
        return len(there)

    def count(self, filter: Filter | None) -> int:
        """How many points match, exactly."""
        return self._count(edge_filter(filter))

    def scroll(
        self,
        limit: int,
        cursor: str | None,
        filter: Filter | None,
        payload: PayloadSelection,
        with_vectors: bool,
    ) -> Page:
        """A page in the order of the points' UUIDs."""
        records, following = self._shard.scroll(
            qe.ScrollRequest(
                offset=cursor,
                limit=limit,
                filter=edge_filter(filter),
                with_payload=payload_selector(payload),
                with_vector=with_vectors,
            )
        )
        points = tuple(stored_point(record) for record in records)
        return Page(points, None if following is None else str(following))

    def sample(self, name: VectorName, limit: int, cursor: str | None) -> tuple[VectorSample, str | None]:
        """The first vectors of the name in the order of the points' UUIDs, and where the rest begins."""
        records, following = self._shard.scroll(
            qe.ScrollRequest(
                offset=cursor,
                limit=limit,
                filter=qe.Filter(must=[qe.HasVectorCondition(name)]),
                with_payload=payload_selector(PayloadSelection(())),
                with_vector=[name],
            )
        )
        points = [stored_point(record) for record in records]
        sample = vector_sample(points, name, self._spec.dimension)
        return sample, None if following is None else str(following)

    def query(self, queries: Sequence[VectorQuery]) -> list[list[ScoredPoint]]:
        """Answers all questions in one pass of the engine."""
        answers = self._shard.query_batch(qe.QueryBatchRequest([engine_query(q) for q in queries]))
        return [[ScoredPoint(stored_point(hit), float(hit.score)) for hit in hits] for hits in answers]

    def _count(self, condition: qe.Filter | None) -> int:
        return self._shard.count(qe.CountRequest(exact=True, filter=condition))
