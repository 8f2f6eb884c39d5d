"""A search service that keeps what it is sent, counts, and fails on demand, over a real socket."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc
from google.protobuf import struct_pb2
from google.rpc import status_pb2

from clipsearch import responses
from clipsearch.aio import AsyncClient
from clipsearch.results import Collection
from clipsearch.search.v1 import collection_pb2, collection_pb2_grpc, search_pb2, search_pb2_grpc
from clipsearch.serving.errors import NotFound, ServiceError, to_status
from clipsearch.serving.errors_interceptor import ErrorInterceptor

DIMENSION = 4


def a_collection(name: str = "shop", fingerprint: str = "a") -> Collection:
    """A collection as the client describes it."""
    message = collection_pb2.Collection(name=name, fingerprint=fingerprint, dimension=DIMENSION)
    return responses.collection(message)


class FakeSearch(search_pb2_grpc.SearchServiceServicer, collection_pb2_grpc.CollectionServiceServicer):
    """Has one collection, `things`; `refuse_call` and `refuse_point` may refuse what comes."""

    def __init__(self) -> None:
        self.stored: dict[str, search_pb2.Point] = {}
        self.written: Counter[str] = Counter()
        self.fingerprint = "f" * 32
        self.calls = 0
        self.asked = 0
        self.at_once = 0
        self.most_at_once = 0
        self.call_sizes: list[int] = []
        self.upsert_takes_s = 0.005
        self.refuse_call: Callable[[int, search_pb2.UpsertRequest], ServiceError | None] = (
            lambda number, request: None
        )
        self.refuse_point: Callable[[bytes], ServiceError | None] = lambda image: None

    async def GetCollection(self, request, context):
        if request.name != "things":
            raise NotFound("collection", request.name)
        collection = collection_pb2.Collection(
            name="things", fingerprint=self.fingerprint, dimension=DIMENSION
        )
        return collection_pb2.GetCollectionResponse(collection=collection)

    async def GetPoints(self, request, context):
        self.asked += len(request.ids)
        found = []
        for id in request.ids:
            if id in self.stored:
                fields = self.stored[id].payload.fields
                kept = {key: fields[key] for key in request.payload.include if key in fields}
                found.append(search_pb2.StoredPoint(id=id, payload=struct_pb2.Struct(fields=kept)))
        return search_pb2.GetPointsResponse(points=found)

    async def Upsert(self, request, context):
        self.calls += 1
        number = self.calls
        self.call_sizes.append(len(request.points))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.upsert_takes_s)
            refused = self.refuse_call(number, request)
            if refused is not None:
                raise refused
            return search_pb2.UpsertResponse(results=[self._write(point) for point in request.points])
        finally:
            self.at_once -= 1

    def _write(self, point: search_pb2.Point) -> search_pb2.UpsertResult:
        refused = self.refuse_point(point.image)
        if refused is not None:
            return search_pb2.UpsertResult(id=point.id, status=to_status(refused))
        self.stored[point.id] = point
        self.written[point.id] += 1
        return search_pb2.UpsertResult(id=point.id, status=status_pb2.Status())


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[FakeSearch, AsyncClient]]:
    """The service, and a client of it."""
    fake = FakeSearch()
    server = grpc.aio.server(interceptors=[ErrorInterceptor()])
    search_pb2_grpc.add_SearchServiceServicer_to_server(fake, server)
    collection_pb2_grpc.add_CollectionServiceServicer_to_server(fake, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with AsyncClient(f"127.0.0.1:{port}", timeout=10) as client:
        yield fake, client
    await server.stop(None)
