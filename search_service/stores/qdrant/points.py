"""Points, payloads and questions in qdrant-client's terms, and back.

Its local mode, on which tests run, takes no others; to a server go messages.py's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from qdrant_client import AsyncQdrantClient, models

from search_service.stores.codec import from_engine, payload_keys, to_payload, vector_names_of
from search_service.stores.protocol import (
    ID_KEY,
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
    """Writes points; whether that is done."""
    result = await client.upsert(
        collection,
        [server_point(point) for point in points],
        wait=wait,
        ordering=ordering,
        update_filter=NO_POINT if insert_only else None,
        timeout=timeout,
    )
    return result.status == models.UpdateStatus.COMPLETED


async def query(
    client: AsyncQdrantClient,
    collection: str,
    queries: Sequence[VectorQuery],
    *,
    consistency: models.ReadConsistency,
    timeout: int,
) -> list[list[ScoredPoint]]:
    """Asks several questions in one request."""
    asked = [server_query(query) for query in queries]
    answers = await client.query_batch_points(collection, asked, consistency=consistency, timeout=timeout)
    return [[ScoredPoint(stored_point(hit), hit.score) for hit in answer.points] for answer in answers]


def server_point(point: StoredPoint) -> models.PointStruct:
    """The point as the client takes it."""
    names = vector_names_of(point)
    vectors: dict[str, Any] = {name: getattr(point, name).tolist() for name in names}
    return models.PointStruct(
        id=point_uuid(point.id), vector=vectors, payload=to_payload(point.id, point.payload, names)
    )


def stored_point(record: models.Record | models.ScoredPoint) -> StoredPoint:
    """The point as its caller knows it."""
    engine_vectors: Any = record.vector or {}
    vectors: dict[VectorName, Vector] = {
        name: np.asarray(numbers, dtype=np.float32) for name, numbers in engine_vectors.items()
    }
    return from_engine(record.payload or {}, vectors)


def server_query(query: VectorQuery) -> models.QueryRequest:
    """The question as the client takes it."""
    quantization = models.QuantizationSearchParams(
        rescore=query.rescore, oversampling=query.oversampling or None
    )
    special = query.oversampling or not query.rescore  # rescoring is the server's default
    return models.QueryRequest(
        query=query.vector.tolist(),
        using=query.name,
        filter=server_filter(query.filter),
        limit=query.limit,
        offset=query.offset,
        score_threshold=query.score_threshold,
        params=models.SearchParams(
            exact=query.exact,
            hnsw_ef=query.hnsw_ef or None,
            quantization=quantization if special else None,
        ),
        with_payload=payload_keys(query.payload),
        with_vector=query.with_vectors,
    )
