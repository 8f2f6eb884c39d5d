"""A search service that keeps what it is sent, counts, and fails on demand, over a real socket."""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc
import structlog
from google.protobuf import struct_pb2
from google.rpc import status_pb2

from clipsearch.client import convert, responses
from clipsearch.client.aio import AsyncClient
from clipsearch.client.types import Collection
from clipsearch.encoder.v1 import vector_pb2
from clipsearch.search.v1 import collection_pb2, collection_pb2_grpc, search_pb2, search_pb2_grpc
from clipsearch.serving.calls import CallInterceptor
from clipsearch.serving.errors import InvalidArgument, NotFound, ServiceError, to_status
from tests.ports import OWN_PORT
from tests.waiting import HANGS_S

DIMENSION = 4


def a_collection(name: str = "shop", fingerprint: str = "a") -> Collection:
    """A collection as the client describes it."""
    message = collection_pb2.Collection(name=name, fingerprint=fingerprint, dimension=DIMENSION)
    return responses.collection(message)


class FakeSearch(search_pb2_grpc.SearchServiceServicer, collection_pb2_grpc.CollectionServiceServicer):
    """Has one collection, `things`; `refuse_call` and `refuse_point` may refuse what comes.

    `encoded` counts by id what came as a picture or text, which the encoder would have had work with.
    """

    def __init__(self) -> None:
        self.stored: dict[str, search_pb2.Point] = {}
        self.updates: list[search_pb2.UpdatePayloadRequest] = []
        self.written: Counter[str] = Counter()
        self.encoded: Counter[str] = Counter()
        self.successor = ""
        self.fingerprint = "f" * 32
        self.calls = 0
        self.asked = 0
        self.at_once = 0
        self.most_at_once = 0
        self.call_sizes: list[int] = []
        self.go_on = asyncio.Event()
        self.go_on.set()  # while it is clear, no upsert is answered
        self.refuse_call: Callable[[int, search_pb2.UpsertRequest], ServiceError | None] = (
            lambda number, request: None
        )
        self.refuse_point: Callable[[bytes], ServiceError | None] = lambda image: None

    async def GetCollection(self, request, context):
        if request.name != "things":
            raise NotFound("collection", request.name)
        collection = collection_pb2.Collection(
            name="things",
            fingerprint=self.fingerprint,
            dimension=DIMENSION,
            points=len(self.stored),
            successor=self.successor,
        )
        return collection_pb2.GetCollectionResponse(collection=collection)

    async def GetPoints(self, request, context):
        self.asked += len(request.ids)
        too_long = [id for id in request.ids if len(id.encode()) > 512]
        if too_long:
            raise InvalidArgument("ids", "must be 1 to 512 bytes")
        found = [self._shown(id, request) for id in request.ids if id in self.stored]
        return search_pb2.GetPointsResponse(points=found)

    async def ListPoints(self, request, context):
        ids = sorted(self.stored)
        for condition in request.filter.must:
            assert condition.field.match.keyword  # no other filter is needed here
            ids = [id for id in ids if self._has(id, condition.field.key, condition.field.match.keyword)]
        first = bisect_left(ids, request.page_token)
        page, rest = ids[first : first + request.page_size], ids[first + request.page_size :]
        shown = [self._shown(id, request) for id in page]
        return search_pb2.ListPointsResponse(points=shown, next_page_token=rest[0] if rest else "")

    async def DeletePoints(self, request, context):
        gone = [self.stored.pop(id) for id in request.ids.ids if id in self.stored]
        return search_pb2.DeletePointsResponse(deleted=len(gone))

    async def UpdatePayload(self, request, context):
        self.updates.append(request)
        return search_pb2.UpdatePayloadResponse(updated=sum(id in self.stored for id in request.ids.ids))

    def payload(self, id: str) -> dict[str, object]:
        """What is stored with a point, as the client has it."""
        return convert.payload(self.stored[id].payload)

    def _has(self, id: str, key: str, value: str) -> bool:
        stored = self.payload(id).get(key)
        return value in stored if isinstance(stored, list) else stored == value

    def _shown(self, id: str, request) -> search_pb2.StoredPoint:
        point, fields = self.stored[id], self.stored[id].payload.fields
        if request.payload.include or request.payload.none:
            fields = {key: fields[key] for key in request.payload.include if key in fields}
        shown = search_pb2.StoredPoint(id=id, payload=struct_pb2.Struct(fields=fields))
        shown.has_image = point.HasField("image") or point.HasField("image_vector")
        shown.has_text = point.HasField("text") or point.HasField("text_vector")
        if request.with_vectors:
            some = vector_pb2.Vector(f32=b"\1" * 4 * DIMENSION)
            if shown.has_image:
                shown.image_vector.CopyFrom(point.image_vector if point.HasField("image_vector") else some)
            if shown.has_text:
                shown.text_vector.CopyFrom(point.text_vector if point.HasField("text_vector") else some)
        return shown

    async def Upsert(self, request, context):
        self.calls += 1
        number = self.calls
        self.call_sizes.append(len(request.points))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(0.005)
            await self.go_on.wait()
            refused = self.refuse_call(number, request)
            if refused is not None:
                raise refused
            return search_pb2.UpsertResponse(results=[self._write(point) for point in request.points])
        finally:
            self.at_once -= 1

    def _write(self, point: search_pb2.Point) -> search_pb2.UpsertResult:
        refused = self.refuse_point(point.image)
        if len(point.id.encode()) > 512:
            refused = InvalidArgument("points[0].id", "points[0].id: must be 1 to 512 bytes")
        if refused is not None:
            return search_pb2.UpsertResult(id=point.id, status=to_status(refused))
        self.stored[point.id] = point
        self.written[point.id] += 1
        self.encoded[point.id] += point.HasField("image") or point.HasField("text")
        return search_pb2.UpsertResult(id=point.id, status=status_pb2.Status())


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[FakeSearch, AsyncClient]]:
    """The service, and a client of it."""
    # A command that serves in this process would print them among what it says.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    fake = FakeSearch()
    server = grpc.aio.server(interceptors=[CallInterceptor()], options=OWN_PORT)
    search_pb2_grpc.add_SearchServiceServicer_to_server(fake, server)
    collection_pb2_grpc.add_CollectionServiceServicer_to_server(fake, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with AsyncClient(f"127.0.0.1:{port}", timeout=HANGS_S) as client:
            yield fake, client
    finally:
        await server.stop(None)
        structlog.reset_defaults()
