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
        for name in IN_PARAMS:
            setattr(config.params, name, given.get(name))
        return described
