"""One collection on Qdrant Edge: a folder with its settings and its shard.

    <folder>/collection.json    the CollectionSpec
    <folder>/shard/             the engine's files

Everything here blocks; `edge.py` calls it from the collection's worker thread, never two calls at once.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as qe

from clipsearch.serving.errors import FailedPrecondition
from search_service.filters import Filter
from search_service.stores.edge_booleans import BOOLEANS_KEY, boolean_path, boolean_words
from search_service.stores.edge_filter import edge_filter
from search_service.stores.protocol import (
    ID_KEY,
    SIDES,
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

SPEC = "collection.json"
SHARD = "shard"

_INDEX_SCHEMAS: dict[IndexType, Any] = {
    "keyword": qe.PayloadSchemaType.Keyword,
    "integer": qe.PayloadSchemaType.Integer,
    "float": qe.PayloadSchemaType.Float,
    "datetime": qe.PayloadSchemaType.Datetime,
    "text": qe.TextIndexParams(tokenizer=qe.TokenizerType.Word, lowercase=True),
}


class EdgeCollection:
    """An open collection. The directory belongs to this process until `close`."""

    def __init__(self, folder: Path, spec: CollectionSpec, shard: qe.EdgeShard) -> None:
        self.folder = folder
        self.spec = spec
        self.shard = shard

    @staticmethod
    def create(folder: Path, spec: CollectionSpec) -> None:
        """Makes the collection's folder; after a crash there is all of it or nothing."""
        building = folder.with_name(f".{folder.name}.new")
        shutil.rmtree(building, ignore_errors=True)
        (building / SHARD).mkdir(parents=True)
        shard = qe.EdgeShard.create(str(building / SHARD), _config(spec))
        try:
            for field, type_ in spec.payload_indexes.items():
                shard.update(_create_index(field, type_))
            shard.flush()
        finally:
            shard.close()
        write_json(building / SPEC, dataclasses.asdict(spec))
        building.rename(folder)
        sync_folder(folder.parent)

    @classmethod
    def open(cls, folder: Path) -> EdgeCollection:
        """Opens what `create` made."""
        spec = CollectionSpec(**json.loads((folder / SPEC).read_text(encoding="utf-8")))
        return cls(folder, spec, qe.EdgeShard.load(str(folder / SHARD)))

    def close(self) -> None:
        """Flushes and lets go of the files."""
        self.shard.flush()
        self.shard.close()

    def info(self, aliases: tuple[str, ...]) -> CollectionInfo:
        """The collection as it stands."""
        vectors = {side: self._count(must=[qe.HasVectorCondition(side)]) for side in SIDES}
        total = sum(vectors.values())
        engine = self.shard.info()
        return CollectionInfo(
            spec=self.spec,
            points=engine.points_count,
            image_vectors=vectors["image"],
            text_vectors=vectors["text"],
            indexed_share=min(1.0, engine.indexed_vectors_count / total) if total else 0.0,
            disk_bytes=_disk_bytes(self.folder),
            aliases=aliases,
        )

    def create_payload_index(self, field: str, type_: IndexType) -> None:
        """Adds an index, once; FailedPrecondition if the field has one of another type."""
        present = self.spec.payload_indexes.get(field)
        if present == type_:
            return
        if present is not None:
            raise FailedPrecondition(
                f"index.type: field {field!r} has an index of type {present}, not {type_}",
                "PAYLOAD_INDEX_EXISTS",
                {"field": field, "type": present},
            )
        self.shard.update(_create_index(field, type_))
        self.spec = dataclasses.replace(
            self.spec, payload_indexes={**self.spec.payload_indexes, field: type_}
        )
        write_json(self.folder / SPEC, dataclasses.asdict(self.spec))

    def upsert(self, points: Sequence[StoredPoint]) -> None:
        """Writes points whole, as one operation of the write-ahead log."""
        self.shard.update(qe.UpdateOperation.upsert_points([_engine_point(point) for point in points]))

    def get(self, ids: Sequence[str], payload: PayloadSelection, with_vectors: bool) -> list[StoredPoint]:
        """Those of `ids` that exist, in their order."""
        wanted = list(dict.fromkeys(point_uuid(point_id) for point_id in ids))
        records = self.shard.retrieve([*wanted], _selector(payload), True)
        found = {str(record.id): record for record in records}
        return [_stored(found[key], with_vectors) for key in wanted if key in found]

    def delete(self, selector: Sequence[str] | Filter) -> int:
        """Deletes by ids or filter; returns how many points existed."""
        if isinstance(selector, Filter):
            condition = edge_filter(selector) or qe.Filter()
            count = self.shard.count(qe.CountRequest(exact=True, filter=condition))
            operation = qe.UpdateOperation.delete_points_by_filter(condition)
        else:
            keys: list[qe.PointId] = list({point_uuid(point_id) for point_id in selector})
            count = len(self.shard.retrieve(keys, False, False))
            operation = qe.UpdateOperation.delete_points(keys)
        if count:
            self.shard.update(operation)
        return count

    def count(self, filter: Filter | None) -> int:
        """How many points match, exactly."""
        return self.shard.count(qe.CountRequest(exact=True, filter=edge_filter(filter)))

    def scroll(
        self,
        limit: int,
        cursor: str | None,
        filter: Filter | None,
        payload: PayloadSelection,
        with_vectors: bool,
    ) -> Page:
        """A page in the order of the points' UUIDs."""
        records, following = self.shard.scroll(
            qe.ScrollRequest(
                offset=cursor,
                limit=limit,
                filter=edge_filter(filter),
                with_payload=_selector(payload),
                with_vector=True,
            )
        )
        points = tuple(_stored(record, with_vectors) for record in records)
        return Page(points, None if following is None else str(following))

    def query(self, queries: Sequence[VectorQuery]) -> list[list[ScoredPoint]]:
        """Answers all questions in one pass of the engine."""
        batch = qe.QueryBatchRequest([_query(query) for query in queries])
        answers = self.shard.query_batch(batch)
        return [
            [ScoredPoint(_stored(hit, query.with_vectors), float(hit.score)) for hit in hits]
            for query, hits in zip(queries, answers, strict=True)
        ]

    def _count(self, must: list[qe.ConditionType]) -> int:
        return self.shard.count(qe.CountRequest(exact=True, filter=qe.Filter(must=must)))


def write_json(path: Path, value: object) -> None:
    """Writes a JSON file so that after a crash there is the old one or the new one."""
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes renames inside a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _config(spec: CollectionSpec) -> qe.EdgeConfig:
    memory = qe.Memory.Cold if spec.on_disk_vectors else None
    params = qe.EdgeVectorParams(spec.dimension, qe.Distance.Cosine, memory=memory)
    hnsw = None
    if spec.hnsw_m or spec.hnsw_ef_construct:
        hnsw = qe.HnswIndexConfig(spec.hnsw_m or 16, spec.hnsw_ef_construct or 100, 10_000)
    quantization: qe.QuantizationConfigType | None = None
    if spec.quantization == "scalar":
        quantization = qe.ScalarQuantizationConfig(qe.ScalarType.Int8)
    elif spec.quantization == "binary":
        quantization = qe.BinaryQuantizationConfig()
    return qe.EdgeConfig(
        vectors=dict.fromkeys(SIDES, params), hnsw_config=hnsw, quantization_config=quantization
    )


def _create_index(field: str, type_: IndexType) -> qe.UpdateOperation:
    if type_ == "bool":
        return qe.UpdateOperation.create_field_index(boolean_path(field), qe.PayloadSchemaType.Keyword)
    return qe.UpdateOperation.create_field_index(field, _INDEX_SCHEMAS[type_])


def _engine_point(point: StoredPoint) -> qe.Point:
    vectors: dict[str, Any] = {side: v for side in SIDES if (v := getattr(point, side)) is not None}
    payload = {**point.payload, ID_KEY: point.id}
    if words := boolean_words(point.payload):
        payload[BOOLEANS_KEY] = words
    return qe.Point(point_uuid(point.id), vectors, payload)


def _selector(payload: PayloadSelection) -> bool | qe.PayloadSelector:
    if payload.include is None:
        return True
    return qe.PayloadSelector.Include([*payload.include, ID_KEY])


def _stored(record: qe.Record | qe.ScoredPoint, with_vectors: bool) -> StoredPoint:
    vectors: Any = record.vector or {}
    payload = dict(record.payload or {})
    point_id = payload.pop(ID_KEY)
    payload.pop(BOOLEANS_KEY, None)
    return StoredPoint(
        id=point_id,
        payload=payload,
        image=_array(vectors.get("image")) if with_vectors else None,
        text=_array(vectors.get("text")) if with_vectors else None,
        has_image="image" in vectors,
        has_text="text" in vectors,
    )


def _array(values: Iterable[float] | None) -> np.ndarray[Any, np.dtype[np.float32]] | None:
    return None if values is None else np.asarray(values, dtype=np.float32)


def _query(query: VectorQuery) -> qe.QueryRequest:
    quantization = qe.QuantizationSearchParams(rescore=query.rescore, oversampling=query.oversampling or None)
    vector: Any = query.vector  # the engine takes numpy arrays, its stubs do not say so
    params = qe.SearchParams(exact=query.exact, hnsw_ef=query.hnsw_ef or None, quantization=quantization)
    return qe.QueryRequest(
        limit=query.limit,
        offset=query.offset,
        query=qe.Query.Nearest(vector, using=query.side),
        filter=edge_filter(query.filter),
        score_threshold=query.score_threshold,
        params=params,
        with_payload=_selector(query.payload),
        with_vector=query.with_vectors,
    )


def _disk_bytes(folder: Path) -> int:
    """Blocks in use; the engine's files are sparse, so their lengths say too much."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(parent, name)).st_blocks * 512  # noqa: PTH116,PTH118
            except FileNotFoundError:  # the engine may drop a file while we look
                continue
    return total
