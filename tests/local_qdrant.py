"""qdrant-client's local mode, on which tests of the server store run, made to answer as a server does."""

from __future__ import annotations

from typing import Any

import grpc
from qdrant_client import AsyncQdrantClient, models
from qdrant_client import grpc as wire
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc

IN_PARAMS = ("on_disk_payload", "shard_number", "replication_factor", "write_consistency_factor")


class NoCollection(grpc.aio.AioRpcError, ValueError):
    """What a server says; local mode raises ValueError, and counts on that."""


class LocalQdrant(AsyncQdrantClient):
    """A client that is its own server, in memory.

    It takes the messages of writes and searches, and keeps the settings that local mode leaves out.
    """

    grpc_points: Any = None

    def __init__(self) -> None:
        super().__init__(location=":memory:")
        self.grpc_points = self
        self.settings: dict[str, dict[str, Any]] = {}
        self.indexes: dict[str, dict[str, models.PayloadIndexInfo]] = {}
        find = self._client._get_collection

        def found(name: str) -> Any:
            try:
                return find(name)
            except ValueError as error:
                none = grpc.aio.Metadata()
                raise NoCollection(grpc.StatusCode.NOT_FOUND, none, none, str(error)) from None

        self._client._get_collection = found

    async def Upsert(self, asked: wire.UpsertPoints, timeout: int) -> Any:
        points = [GrpcToRest.convert_point_struct(point) for point in asked.points]
        only = GrpcToRest.convert_filter(asked.update_filter) if asked.HasField("update_filter") else None
        await self.upsert(asked.collection_name, points, update_filter=only)
        return wire.PointsOperationResponse(result=wire.UpdateResult(status=wire.UpdateStatus.Completed))

    async def QueryBatch(self, asked: wire.QueryBatchPoints, timeout: int) -> Any:
        for query in asked.query_points:
            query.ClearField("params")  # of an index, which local mode has not
        queries = [GrpcToRest.convert_query_points(query) for query in asked.query_points]
        answers = await self.query_batch_points(asked.collection_name, queries)
        found = [[RestToGrpc.convert_scored_point(hit) for hit in answer.points] for answer in answers]
        return wire.QueryBatchResponse(result=[wire.BatchResult(result=hits) for hits in found])

    async def create_collection(self, name: str, **options: Any) -> bool:
        self.settings[name], self.indexes[name] = options, {}
        return await super().create_collection(name, **options)

    async def update_collection(self, name: str, **changes: Any) -> bool:
        described = await self.get_collection(name)  # whose settings these are
        kept = self.settings[name]
        diff = changes.pop("hnsw_config", None)
        if diff is not None:
            given = diff.model_dump(exclude_none=True)
            kept["hnsw_config"] = models.HnswConfigDiff(
                **described.config.hnsw_config.model_dump(exclude_none=True) | given
            )
        if "quantization_config" in changes:
            new = changes.pop("quantization_config")
            kept["quantization_config"] = None if new == models.Disabled.DISABLED else new
        if "optimizers_config" in changes:
            kept["optimizers_config"] = changes.pop("optimizers_config")
        if "collection_params" in changes:
            kept |= changes.pop("collection_params").model_dump(exclude_none=True)
        for vector, diff in changes.pop("vectors_config", {}).items():
            kept["vectors_config"][vector].on_disk = diff.on_disk
        changes.pop("sparse_vectors_config", None)  # where they lie is nothing to it
        return await super().update_collection(name, **changes)

    async def create_payload_index(self, name: str, field: str, schema: Any, **options: Any) -> Any:
        self._client._get_collection(name)
        kind = models.PayloadSchemaType(getattr(schema, "type", schema))
        params = None if isinstance(schema, models.PayloadSchemaType) else schema
        self.indexes[name][field] = models.PayloadIndexInfo(data_type=kind, params=params, points=0)
        return models.UpdateResult(status=models.UpdateStatus.COMPLETED)

    async def delete_payload_index(self, name: str, field: str, **options: Any) -> Any:
        self._client._get_collection(name)
        self.indexes[name].pop(field, None)
        return models.UpdateResult(status=models.UpdateStatus.COMPLETED)

    async def get_collection(self, name: str, **options: Any) -> models.CollectionInfo:
        described = await super().get_collection(name, **options)
        given, config = self.settings[name], described.config
        described.payload_schema = dict(self.indexes[name])
        config.quantization_config = given.get("quantization_config")
        if "hnsw_config" in given:
            changes = given["hnsw_config"].model_dump(exclude_none=True)
            config.hnsw_config = config.hnsw_config.model_copy(update=changes)
        if isinstance(given["vectors_config"], dict):
            for vector, params in given["vectors_config"].items():
                config.params.vectors[vector].on_disk = params.on_disk
        if "optimizers_config" in given:
            diff = given["optimizers_config"].model_dump(exclude_none=True)
            config.optimizer_config = config.optimizer_config.model_copy(update=diff)
        for name in IN_PARAMS:
            setattr(config.params, name, given.get(name))
        return described
