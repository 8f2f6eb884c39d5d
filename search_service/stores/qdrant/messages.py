"""Points and questions as Qdrant's gRPC messages, and hits back: what every write and search is made of.

qdrant-client takes models of pydantic, copies them and converts them: at 512 dimensions 100 us a point
and 3 ms a pair of questions more than the messages themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from qdrant_client import AsyncQdrantClient, models
from qdrant_client import grpc as wire
from qdrant_client.conversions.conversion import RestToGrpc, grpc_to_payload, payload_to_grpc

from search_service.stores.codec import from_engine, payload_keys, to_payload, vector_names_of
from search_service.stores.protocol import (
    ID_KEY,
    PayloadSelection,
    ScoredPoint,
    StoredPoint,
    Vector,
    VectorName,
    VectorQuery,
    point_uuid,
)
from search_service.stores.qdrant.filter import server_filter

# As an `update_filter`: of the points that are there only those that match are replaced, and none of
# ours does. Servers have it since 1.16, as they have metadata, without which no collection is ours.
NO_POINT = models.Filter(must=[models.IsEmptyCondition(is_empty=models.PayloadField(key=ID_KEY))])


async def upsert(
    client: AsyncQdrantClient,
    collection: str,
    points: Sequence[StoredPoint],
    *,
    wait: bool,
    insert_only: bool,
    ordering: models.WriteOrdering,
    timeout: int,
) -> bool:
    """Writes points in one request; whether that is done."""
    asked = wire.UpsertPoints(
        collection_name=collection,
        wait=wait,
        ordering=RestToGrpc.convert_write_ordering(ordering),
        update_filter=RestToGrpc.convert_filter(NO_POINT) if insert_only else None,
        timeout=timeout,
    )
    for point in points:
        add_point(asked, point)
    answer = await client.grpc_points.Upsert(asked, timeout=timeout)
    return bool(answer.result.status == wire.UpdateStatus.Completed)


async def query(
    client: AsyncQdrantClient,
    collection: str,
    queries: Sequence[VectorQuery],
    *,
    consistency: models.ReadConsistency,
    timeout: int,
) -> list[list[ScoredPoint]]:
    """Asks several questions in one request."""
    asked = wire.QueryBatchPoints(
        collection_name=collection,
        query_points=[query_message(collection, query) for query in queries],
        read_consistency=RestToGrpc.convert_read_consistency(consistency),
        timeout=timeout,
    )
    answer = await client.grpc_points.QueryBatch(asked, timeout=timeout)
    return [scored_points(one.result) for one in answer.result]


def add_point(asked: wire.UpsertPoints, point: StoredPoint) -> None:
    """Writes the point into the request: in place, because a message that is given to another is copied."""
    names = vector_names_of(point)
    message = asked.points.add(payload=payload_to_grpc(to_payload(point.id, point.payload, names)))
    message.id.uuid = point_uuid(point.id)
    for name in names:
        message.vectors.vectors.vectors[name].dense.MergeFromString(_packed(getattr(point, name)))


def query_message(collection: str, query: VectorQuery) -> wire.QueryPoints:
    """The question as it is asked."""
    condition = server_filter(query.filter)
    params = wire.SearchParams(exact=query.exact, hnsw_ef=query.hnsw_ef or None)
    if query.oversampling or not query.rescore:  # rescoring is the server's default
        params.quantization.rescore = query.rescore
        if query.oversampling:
            params.quantization.oversampling = query.oversampling
    message = wire.QueryPoints(
        collection_name=collection,
        using=query.name,
        filter=None if condition is None else RestToGrpc.convert_filter(condition),
        limit=query.limit,
        offset=query.offset or None,
        score_threshold=query.score_threshold,
        params=params,
        with_payload=_payload_selector(query.payload),
        with_vectors=wire.WithVectorsSelector(enable=query.with_vectors),
    )
    message.query.nearest.dense.MergeFromString(_packed(query.vector))
    return message


def scored_points(hits: Sequence[wire.ScoredPoint]) -> list[ScoredPoint]:
    """The answer to one question."""
    return [ScoredPoint(from_engine(grpc_to_payload(hit.payload), _vectors(hit)), hit.score) for hit in hits]


def stored_point(record: models.Record | models.ScoredPoint) -> StoredPoint:
    """The point as its caller knows it."""
    engine_vectors: Any = record.vector or {}
    vectors: dict[VectorName, Vector] = {
        name: np.asarray(numbers, dtype=np.float32) for name, numbers in engine_vectors.items()
    }
    return from_engine(record.payload or {}, vectors)


def _packed(vector: Vector) -> bytes:
    """The vector as a DenseVector on the wire: its bytes (field 1, a packed repeated float) and their length.

    2 us at 512 dimensions for 16 by a list of floats.
    """
    numbers = vector.astype("<f4", copy=False).tobytes()
    length, left = bytearray(), len(numbers)
    while left > 0x7F:
        length.append(left & 0x7F | 0x80)
        left >>= 7
    return b"\x0a" + bytes(length) + bytes([left]) + numbers


def _payload_selector(selection: PayloadSelection) -> wire.WithPayloadSelector:
    keys = payload_keys(selection)
    if isinstance(keys, bool):
        return wire.WithPayloadSelector(enable=keys)
    return wire.WithPayloadSelector(include=wire.PayloadIncludeSelector(fields=keys))


def _vectors(hit: Any) -> dict[VectorName, Vector]:
    named = hit.vectors.vectors.vectors
    return {name: np.asarray(_numbers(vector), dtype=np.float32) for name, vector in named.items()}


def _numbers(vector: Any) -> Any:
    """Servers before 1.17 answer with the numbers in the vector itself."""
    return vector.dense.data if vector.HasField("dense") else vector.data
