"""QdrantServer: a Qdrant server (or cluster), over gRPC.

What a collection was created with is kept in the collection's own metadata on the server, under
`clipsearch`. Collections without it are somebody else's: they are neither listed nor touched.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from qdrant_client import AsyncQdrantClient, models

from clipsearch.serving.errors import AlreadyExists, FailedPrecondition, NotFound
from search_service.filters import Filter
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
    Vector,
    VectorQuery,
    point_uuid,
)
from search_service.stores.server_errors import store_errors
from search_service.stores.server_filter import server_filter

_METADATA = "clipsearch"
_SPEC_SECONDS = 5.0  # how long a collection's settings may be taken from memory

_INDEX_SCHEMAS: dict[IndexType, Any] = {
    "keyword": models.PayloadSchemaType.KEYWORD,
    "integer": models.PayloadSchemaType.INTEGER,
    "float": models.PayloadSchemaType.FLOAT,
    "bool": models.PayloadSchemaType.BOOL,
    "datetime": models.PayloadSchemaType.DATETIME,
    "text": models.TextIndexParams(
        type=models.TextIndexType.TEXT, tokenizer=models.TokenizerType.WORD, lowercase=True
    ),
}


class QdrantServer:
    """VectorStore on a server. Make one with `connect`; nothing is sent before the first call."""

    def __init__(self, client: AsyncQdrantClient, timeout: float = 30.0) -> None:
        self._client = client
        self._timeout = timeout
        self._specs: dict[str, tuple[float, CollectionSpec]] = {}

    @classmethod
    def connect(cls, url: str, api_key: str | None, *, timeout: float) -> QdrantServer:
        """`url` is the server's REST address (http://host:6333); gRPC is taken on port 6334."""
        client = AsyncQdrantClient(
            url=url,
            api_key=api_key,
            prefer_grpc=True,
            check_compatibility=False,  # it would ask over REST, which may be closed
            timeout=math.ceil(timeout),
        )
        return cls(client, timeout)

    async def ping(self) -> None:
        """Raises Unavailable if the server does not answer."""
        with store_errors():
            await self._client.get_collections()

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()

    async def resolve(self, name: str, *, timeout: float | None = None) -> CollectionSpec:
        """The settings of a collection, by name or alias; at most 5 s old."""
        known = self._specs.get(name)
        if known is not None and time.monotonic() - known[0] < _SPEC_SECONDS:
            return known[1]
        with store_errors(name):
            described = await self._client.get_collection(name)
        spec = _spec(described)
        if spec is None:
            raise FailedPrecondition(
                f"collection {name!r} was not made by clipsearch", "COLLECTION_NOT_OURS", {"collection": name}
            )
        self._specs[name] = (time.monotonic(), spec)
        return spec

    async def create_collection(self, spec: CollectionSpec, *, timeout: float | None = None) -> None:
        """Creates a collection and its payload indexes. Raises AlreadyExists."""
        if spec.name in await self._aliases():
            raise AlreadyExists("collection", spec.name, taken_by="an alias")
        with store_errors(spec.name):
            if await self._client.collection_exists(spec.name):
                raise AlreadyExists("collection", spec.name)
            params = models.VectorParams(
                size=spec.dimension, distance=models.Distance.COSINE, on_disk=spec.on_disk_vectors
            )
            await self._client.create_collection(
                spec.name,
                vectors_config=dict.fromkeys(SIDES, params),
                hnsw_config=models.HnswConfigDiff(
                    m=spec.hnsw_m or None, ef_construct=spec.hnsw_ef_construct or None
                ),
                quantization_config=_quantization(spec),
                shard_number=spec.shard_number,
                replication_factor=spec.replication_factor,
                write_consistency_factor=spec.write_consistency_factor,
                metadata={_METADATA: dataclasses.asdict(spec)},
                timeout=self._seconds(timeout),
            )
            for field, type_ in spec.payload_indexes.items():
                await self._client.create_payload_index(spec.name, field, _INDEX_SCHEMAS[type_])
        self._specs.clear()

    async def get_collection(self, collection: str, *, timeout: float | None = None) -> CollectionInfo:
        """The collection as it stands."""
        aliases = await self._aliases()
        return await self._describe(await self.resolve(collection, timeout=timeout), aliases)

    async def list_collections(self, *, timeout: float | None = None) -> list[CollectionInfo]:
        """All collections made by clipsearch, by name."""
        aliases = await self._aliases()
        with store_errors():
            names = sorted(found.name for found in (await self._client.get_collections()).collections)
            specs = [_spec(await self._client.get_collection(name)) for name in names]
        return [await self._describe(spec, aliases) for spec in specs if spec is not None]

    async def delete_collection(self, collection: str, *, timeout: float | None = None) -> None:
        """Deletes the collection and the aliases that point at it."""
        await self.resolve(collection)
        gone = [alias for alias, name in (await self._aliases()).items() if name == collection]
        with store_errors(collection):
            if gone:
                await self._client.update_collection_aliases([_delete_alias(alias) for alias in gone])
            await self._client.delete_collection(collection, timeout=self._seconds(timeout))
        self._specs.clear()

    async def set_alias(self, alias: str, collection: str | None, *, timeout: float | None = None) -> str:
        """Points `alias` at a collection, or removes it, in one step; returns where it pointed."""
        previous = (await self._aliases()).get(alias, "")
        operations: list[models.AliasOperations] = [_delete_alias(alias)] if previous else []
        if collection is not None:
            with store_errors(alias):
                if not previous and await self._client.collection_exists(alias):
                    raise AlreadyExists("alias", alias, taken_by="a collection")
            await self.resolve(collection)
            create = models.CreateAlias(collection_name=collection, alias_name=alias)
            operations.append(models.CreateAliasOperation(create_alias=create))
        elif not previous:
            raise NotFound("alias", alias)
        with store_errors(alias):
            await self._client.update_collection_aliases(operations, timeout=self._seconds(timeout))
        self._specs.clear()
        return previous

    async def create_payload_index(
        self, collection: str, key: str, type: IndexType, *, timeout: float | None = None
    ) -> None:
        """Adds a payload index; FailedPrecondition if the field has one of another type."""
        self._specs.clear()
        spec = await self.resolve(collection)
        present = spec.payload_indexes.get(key)
        if present == type:
            return
        if present is not None:
            raise FailedPrecondition(
                f"index.type: field {key!r} has an index of type {present}, not {type}",
                "PAYLOAD_INDEX_EXISTS",
                {"field": key, "type": present},
            )
        grown = dataclasses.replace(spec, payload_indexes={**spec.payload_indexes, key: type})
        with store_errors(collection):
            await self._client.create_payload_index(
                collection, key, _INDEX_SCHEMAS[type], wait=True, timeout=self._seconds(timeout)
            )
            await self._client.update_collection(collection, metadata={_METADATA: dataclasses.asdict(grown)})
        self._specs.clear()

    async def upsert(
        self,
        collection: str,
        points: Sequence[StoredPoint],
        *,
        wait: bool = True,
        timeout: float | None = None,
    ) -> None:
        """Writes points whole, in one request."""
        with store_errors(collection):
            await self._client.upsert(
                collection, [_server_point(p) for p in points], wait=wait, timeout=self._seconds(timeout)
            )

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
        with store_errors(collection):
            records = await self._client.retrieve(
                collection,
                wanted,
                with_payload=_selector(payload),
                with_vectors=True,
                timeout=self._seconds(timeout),
            )
        found = {str(record.id): record for record in records}
        return [_stored(found[key], with_vectors) for key in wanted if key in found]

    async def delete(
        self, collection: str, selector: Sequence[str] | Filter, *, timeout: float | None = None
    ) -> int:
        """Deletes by ids or by filter; returns how many points matched just before."""
        if isinstance(selector, Filter):
            condition = server_filter(selector) or models.Filter()
        else:
            condition = models.Filter(
                must=[models.HasIdCondition(has_id=[point_uuid(point_id) for point_id in selector])]
            )
        with store_errors(collection):
            counted = await self._client.count(collection, condition, exact=True)
            await self._client.delete(
                collection,
                models.FilterSelector(filter=condition),
                wait=True,
                timeout=self._seconds(timeout),
            )
        return counted.count

    async def count(
        self, collection: str, filter: Filter | None = None, *, timeout: float | None = None
    ) -> int:
        """How many points match, exactly."""
        with store_errors(collection):
            counted = await self._client.count(
                collection, server_filter(filter), exact=True, timeout=self._seconds(timeout)
            )
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
        """A page of points in the order of their UUIDs."""
        with store_errors(collection):
            records, following = await self._client.scroll(
                collection,
                scroll_filter=server_filter(filter),
                limit=limit,
                offset=cursor,
                with_payload=_selector(payload),
                with_vectors=True,
                timeout=self._seconds(timeout),
            )
        points = tuple(_stored(record, with_vectors) for record in records)
        return Page(points, None if following is None else str(following))

    async def query(
        self, collection: str, queries: Sequence[VectorQuery], *, timeout: float | None = None
    ) -> list[list[ScoredPoint]]:
        """Answers several questions in one request; each list best first."""
        with store_errors(collection):
            answers = await self._client.query_batch_points(
                collection, [_query(query) for query in queries], timeout=self._seconds(timeout)
            )
        return [
            [ScoredPoint(_stored(hit, query.with_vectors), hit.score) for hit in answer.points]
            for query, answer in zip(queries, answers, strict=True)
        ]

    def _seconds(self, timeout: float | None) -> int:
        """The engine takes whole seconds; rounding up leaves the last word to the caller's deadline."""
        return max(1, math.ceil(min(timeout, self._timeout) if timeout is not None else self._timeout))

    async def _aliases(self) -> dict[str, str]:
        with store_errors():
            found = await self._client.get_aliases()
        return {entry.alias_name: entry.collection_name for entry in found.aliases}

    async def _describe(self, spec: CollectionSpec, aliases: dict[str, str]) -> CollectionInfo:
        counts = {}
        with store_errors(spec.name):
            described = await self._client.get_collection(spec.name)
            points = await self._client.count(spec.name, exact=True)
            for side in SIDES:
                has = models.Filter(must=[models.HasVectorCondition(has_vector=side)])
                counts[side] = (await self._client.count(spec.name, has, exact=True)).count
        total = sum(counts.values())
        indexed = described.indexed_vectors_count or 0
        return CollectionInfo(
            spec=spec,
            points=points.count,
            image_vectors=counts["image"],
            text_vectors=counts["text"],
            indexed_share=min(1.0, indexed / total) if total else 0.0,
            disk_bytes=0,
            aliases=tuple(sorted(alias for alias, name in aliases.items() if name == spec.name)),
        )


def _spec(described: models.CollectionInfo) -> CollectionSpec | None:
    metadata = (described.config.metadata or {}).get(_METADATA)
    return None if metadata is None else CollectionSpec(**metadata)


def _quantization(spec: CollectionSpec) -> models.QuantizationConfig | None:
    match spec.quantization:
        case "scalar":
            config = models.ScalarQuantizationConfig(type=models.ScalarType.INT8)
            return models.ScalarQuantization(scalar=config)
        case "binary":
            return models.BinaryQuantization(binary=models.BinaryQuantizationConfig())
    return None


def _delete_alias(alias: str) -> models.DeleteAliasOperation:
    return models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))


def _server_point(point: StoredPoint) -> models.PointStruct:
    vectors: dict[str, Any] = {
        side: vector.tolist() for side in SIDES if (vector := getattr(point, side)) is not None
    }
    return models.PointStruct(
        id=point_uuid(point.id), vector=vectors, payload={**point.payload, ID_KEY: point.id}
    )


def _selector(payload: PayloadSelection) -> bool | list[str]:
    return True if payload.include is None else [*payload.include, ID_KEY]


def _stored(record: models.Record | models.ScoredPoint, with_vectors: bool) -> StoredPoint:
    vectors: Any = record.vector or {}
    payload = dict(record.payload or {})
    point_id = payload.pop(ID_KEY)
    return StoredPoint(
        id=point_id,
        payload=payload,
        image=_array(vectors.get("image")) if with_vectors else None,
        text=_array(vectors.get("text")) if with_vectors else None,
        has_image="image" in vectors,
        has_text="text" in vectors,
    )


def _array(values: Iterable[float] | None) -> Vector | None:
    return None if values is None else np.asarray(values, dtype=np.float32)


def _query(query: VectorQuery) -> models.QueryRequest:
    quantization = models.QuantizationSearchParams(
        rescore=query.rescore, oversampling=query.oversampling or None
    )
    return models.QueryRequest(
        query=query.vector.tolist(),
        using=query.side,
        filter=server_filter(query.filter),
        limit=query.limit,
        offset=query.offset,
        score_threshold=query.score_threshold,
        params=models.SearchParams(
            exact=query.exact, hnsw_ef=query.hnsw_ef or None, quantization=quantization
        ),
        with_payload=_selector(query.payload),
        with_vector=query.with_vectors,
    )
