"""Writes and searches in qdrant-client's models: its local mode, on which tests run, takes no messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qdrant_client import AsyncQdrantClient, models

from search_service.stores.codec import payload_keys, to_payload, vector_names_of
from search_service.stores.protocol import ScoredPoint, StoredPoint, VectorQuery, point_uuid
from search_service.stores.qdrant.filter import server_filter
from search_service.stores.qdrant.messages import NO_POINT, stored_point


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
        [_point(point) for point in points],
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
    asked = [_query(query) for query in queries]
    answers = await client.query_batch_points(collection, asked, consistency=consistency, timeout=timeout)
    return [[ScoredPoint(stored_point(hit), hit.score) for hit in answer.points] for answer in answers]


def _point(point: StoredPoint) -> models.PointStruct:
    """The point as the client takes it."""
    names = vector_names_of(point)
    vectors: dict[str, Any] = {name: getattr(point, name).tolist() for name in names}
    return models.PointStruct(
        id=point_uuid(point.id), vector=vectors, payload=to_payload(point.id, point.payload, names)
    )


def _query(query: VectorQuery) -> models.QueryRequest:
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
