"""A Qdrant server for tests, on the servicers that qdrant-client generates: it fails on demand.

It holds one collection, made by clipsearch, and answers as a server would that has nothing in it. What
it says of itself and how is as seen of Qdrant 1.18.3.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import grpc
from qdrant_client import grpc as wire
from qdrant_client.conversions.conversion import payload_to_grpc

from tests.ports import OWN_PORT

COLLECTION = "x"
COUNT = 7
MADE = {"clipsearch": {"fingerprint": "f", "model": ""}}
Failure = tuple[grpc.StatusCode, str]


@dataclass
class Qdrant(grpc.aio.ServerInterceptor):
    """`failures` are told one a call, first those of the RPC (`Points/Count`), then those of any.

    `down` RPCs fail always with UNAVAILABLE. `asked` and `calls` are what came in, over the connections
    of `peers` and `most_at_once` at a time, `metadata` what came with the last call. While `go_on` is clear
    it answers nothing. With `api_key` set, calls without it are refused. It speaks TLS with `credentials`.
    """

    failures: list[Failure] = field(default_factory=list)
    down: set[str] = field(default_factory=set)
    status: int = wire.UpdateStatus.Completed
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    short_by: int = 0  # answers that are missing in a QueryBatch
    api_key: str | None = None
    credentials: grpc.ServerCredentials | None = None
    kept: dict[str, Any] = field(default_factory=dict)  # of metadata, since the collection was made
    aliases: dict[str, str] = field(default_factory=dict)
    deleted: bool = False
    asked: list[Any] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    metadata: dict[str, str] = field(default_factory=dict)
    peers: set[str] = field(default_factory=set)
    at_once: int = 0
    most_at_once: int = 0
    port: int = 0
    version: str = "1.18.3"
    _server: grpc.aio.Server | None = None

    def __post_init__(self) -> None:
        self.go_on.set()

    async def start(self) -> None:
        """Serves, on the same port as before if there was one."""
        self._server = grpc.aio.server(interceptors=[self], options=OWN_PORT)
        wire.add_PointsServicer_to_server(_Points(self), self._server)
        wire.add_CollectionsServicer_to_server(_Collections(self), self._server)
        wire.add_QdrantServicer_to_server(_Root(self), self._server)
        address = f"127.0.0.1:{self.port}"
        if self.credentials is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, self.credentials)
        await self._server.start()

    async def stop(self) -> None:
        """Goes at once; calls under way are cut."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        """Every call is noted first, and fails if so told."""
        handler = await continuation(details)

        async def answer(request: Any, context: Any) -> Any:
            await self._take(details.method.removeprefix("/qdrant."), request, context)
            return await handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(
            answer, handler.request_deserializer, handler.response_serializer
        )

    async def _take(self, rpc: str, request: Any, context: Any) -> None:
        self.calls[rpc] += 1
        self.asked.append(request)
        self.metadata = dict(context.invocation_metadata())
        self.peers.add(context.peer())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.go_on.wait()
        finally:
            self.at_once -= 1
        if self.api_key is not None and self.metadata.get("api-key") != self.api_key:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "Invalid API key or JWT")
        if rpc in self.down:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "")
        if self.failures:
            await context.abort(*self.failures.pop(0))


class _Root(wire.QdrantServicer):
    def __init__(self, qdrant: Qdrant) -> None:
        self._qdrant = qdrant

    async def HealthCheck(self, request, context):
        return wire.HealthCheckReply(title="qdrant", version=self._qdrant.version)


class _Points(wire.PointsServicer):
    def __init__(self, qdrant: Qdrant) -> None:
        self._qdrant = qdrant

    async def Count(self, request, context):
        return wire.CountResponse(result=wire.CountResult(count=COUNT))

    async def Get(self, request, context):
        return wire.GetResponse()

    async def Scroll(self, request, context):
        return wire.ScrollResponse()

    async def QueryBatch(self, request, context):
        count = len(request.query_points) - self._qdrant.short_by
        return wire.QueryBatchResponse(result=[wire.BatchResult() for _ in range(count)])

    async def Upsert(self, request, context):
        return wire.PointsOperationResponse(result=wire.UpdateResult(status=self._qdrant.status))

    Delete = CreateFieldIndex = Upsert


class _Collections(wire.CollectionsServicer):
    def __init__(self, qdrant: Qdrant) -> None:
        self._qdrant = qdrant

    async def Get(self, request, context):
        sizes = {side: wire.VectorParams(size=2, distance=wire.Distance.Cosine) for side in ("image", "text")}
        params = wire.CollectionParams(
            vectors_config=wire.VectorsConfig(params_map=wire.VectorParamsMap(map=sizes))
        )
        config = wire.CollectionConfig(
            params=params,
            hnsw_config=wire.HnswConfigDiff(m=16, ef_construct=100, full_scan_threshold=10_000),
            optimizer_config=wire.OptimizersConfigDiff(
                deleted_threshold=0.2,
                vacuum_min_vector_number=1000,
                default_segment_number=0,
                flush_interval_sec=5,
            ),
            wal_config=wire.WalConfigDiff(wal_capacity_mb=32, wal_segments_ahead=0),
            metadata={**payload_to_grpc(MADE), **self._qdrant.kept},
        )
        return wire.GetCollectionInfoResponse(
            result=wire.CollectionInfo(status=wire.CollectionStatus.Green, config=config)
        )

    async def List(self, request, context):
        described = wire.CollectionDescription(name=COLLECTION)
        return wire.ListCollectionsResponse(collections=[described])

    async def ListAliases(self, request, context):
        aliases = self._qdrant.aliases.items()
        described = [wire.AliasDescription(alias_name=a, collection_name=c) for a, c in aliases]
        return wire.ListAliasesResponse(aliases=described)

    async def CollectionExists(self, request, context):
        exists = request.collection_name == COLLECTION and not self._qdrant.deleted
        return wire.CollectionExistsResponse(result=wire.CollectionExists(exists=exists))

    async def Create(self, request, context):
        return wire.CollectionOperationResponse(result=True)

    async def Update(self, request, context):
        self._qdrant.kept.update(request.metadata)
        return wire.CollectionOperationResponse(result=True)

    async def Delete(self, request, context):
        self._qdrant.deleted = True
        return wire.CollectionOperationResponse(result=True)

    async def UpdateAliases(self, request, context):
        for action in request.actions:
            if action.HasField("create_alias"):
                self._qdrant.aliases[action.create_alias.alias_name] = action.create_alias.collection_name
            else:
                self._qdrant.aliases.pop(action.delete_alias.alias_name, None)
        return wire.CollectionOperationResponse(result=True)
