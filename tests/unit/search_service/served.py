"""A real search server on Qdrant Edge in front of a real encoder server whose model is a hash; shorthands."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.text_format import Parse
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from clipsearch.encoder.v1 import encoder_pb2, encoder_pb2_grpc, vector_pb2
from clipsearch.search.v1 import collection_pb2, collection_pb2_grpc, filter_pb2, search_pb2, search_pb2_grpc
from clipsearch.serving.calls import CallInterceptor
from clipsearch.serving.errors import InvalidArgument, ServiceError, to_status
from clipsearch.serving.security.auth import Guard
from search_service.__main__ import services
from search_service.encoder.client import EncoderClient
from search_service.query.calibration_cache import CalibrationCache
from search_service.settings import SearchSettings
from search_service.stores.edge.store import QdrantEdge
from tests.ports import OWN_PORT
from tests.unit.clipsearch.serving.served import requests

DIMENSION = 8
CONTEXT = 40


def unit(*numbers: float) -> np.ndarray:
    """A vector of length 1 in DIMENSION dimensions that starts like `numbers`."""
    vector = np.zeros(DIMENSION, np.float32)
    vector[: len(numbers)] = numbers
    return vector / np.linalg.norm(vector)


def wire(vector: Any) -> vector_pb2.Vector:
    return vector_pb2.Vector(f32=np.asarray(vector, dtype="<f4").tobytes())


class FakeEncoder(encoder_pb2_grpc.EncoderServiceServicer):
    """Encodes by hash, or as `vectors` says. White space and b"no picture" fail; long texts are cut."""

    def __init__(self, port: int = 0) -> None:
        self.name = "fake"
        self.fingerprint = "fake-1"
        self.weak_match_below = 0.0
        self.vectors: dict[str | bytes, np.ndarray] = {}
        self.go_on = asyncio.Event()
        self.go_on.set()  # while it is clear, nothing is answered
        self.error: ServiceError | None = None
        self.calls: list[tuple[str, int]] = []
        self.peers: list[str] = []
        """Where each call came from: a connection has a port of its own."""
        self.address = f"127.0.0.1:{port}"
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Serves, on the same port as before if there was one."""
        self._server = grpc.aio.server(interceptors=[CallInterceptor()], options=OWN_PORT)
        encoder_pb2_grpc.add_EncoderServiceServicer_to_server(self, self._server)
        port = self._server.add_insecure_port(self.address)
        self.address = f"127.0.0.1:{port}"
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    async def GetModel(self, request, context):
        self.peers.append(context.peer())
        await self._called("GetModel", 0)
        return encoder_pb2.GetModelResponse(name=self.name, fingerprint=self.fingerprint, dimension=DIMENSION)

    async def EncodeText(self, request, context):
        self.peers.append(context.peer())
        await self._called("EncodeText", len(request.texts))
        assert request.format == vector_pb2.VECTOR_FORMAT_F32_BYTES
        embeddings = [self._text(text, i) for i, text in enumerate(request.texts)]
        return encoder_pb2.EncodeTextResponse(
            embeddings=embeddings, fingerprint=self.fingerprint, weak_match_below=self.weak_match_below
        )

    async def EncodeImage(self, request, context):
        self.peers.append(context.peer())
        await self._called("EncodeImage", len(request.images))
        embeddings = [self._image(image, i) for i, image in enumerate(request.images)]
        return encoder_pb2.EncodeImageResponse(embeddings=embeddings, fingerprint=self.fingerprint)

    async def _called(self, name: str, items: int) -> None:
        self.calls.append((name, items))
        await self.go_on.wait()
        if self.error is not None:
            raise self.error

    def _text(self, text: str, index: int) -> encoder_pb2.Embedding:
        if not text.strip():
            error = InvalidArgument(f"texts[{index}]", "empty, or white space only", "TEXT_EMPTY")
            return encoder_pb2.Embedding(error=to_status(error))
        dropped = max(0, len(text) - CONTEXT)
        return encoder_pb2.Embedding(
            vector=wire(self._vector(text)),
            text=encoder_pb2.TextInput(tokens=len(text) - dropped, tokens_dropped=dropped),
        )

    def _image(self, image: bytes, index: int) -> encoder_pb2.Embedding:
        if image == b"no picture":
            error = InvalidArgument(f"images[{index}]", "not a picture", "IMAGE_UNREADABLE")
            return encoder_pb2.Embedding(error=to_status(error))
        return encoder_pb2.Embedding(vector=wire(self._vector(image)), image=encoder_pb2.ImageInput())

    def _vector(self, item: str | bytes) -> np.ndarray:
        if item in self.vectors:
            return self.vectors[item]
        data = item.encode() if isinstance(item, str) else item
        seed = int.from_bytes(hashlib.sha256(self.fingerprint.encode() + data).digest()[:8], "little")
        return unit(*np.random.default_rng(seed).normal(size=DIMENSION))


@dataclass
class Client:
    """Stubs of a search server, and shorthands for what most tests do."""

    points: Any
    collections: Any
    server: grpc.aio.Server
    channel: grpc.aio.Channel
    address: str

    async def create(self, name: str = "c", **fields: Any) -> collection_pb2.Collection:
        request = collection_pb2.CreateCollectionRequest(name=name, **fields)
        return (await self.collections.CreateCollection(request)).collection

    async def upsert(self, *points: dict[str, Any], collection: str = "c", **fields: Any) -> Any:
        request = search_pb2.UpsertRequest(
            collection=collection, points=[point(**p) for p in points], **fields
        )
        return (await self.points.Upsert(request)).results

    async def search(self, *terms: search_pb2.QueryTerm, collection: str = "c", **fields: Any) -> Any:
        return await self.points.Search(
            search_pb2.SearchRequest(collection=collection, query=terms, **fields)
        )


def point(id: str, payload: dict[str, Any] | None = None, **fields: Any) -> search_pb2.Point:
    """A point; vectors as arrays, the payload as a dict."""
    for name in ("image_vector", "text_vector"):
        if isinstance(fields.get(name), np.ndarray):
            fields[name] = wire(fields[name])
    proto = search_pb2.Point(id=id, **fields)
    proto.payload.update(payload or {})
    return proto


def term(value: str | bytes | np.ndarray | None = None, *, point_id: str = "", **fields: Any) -> Any:
    """A query term of the kind that `value` is."""
    if isinstance(value, str):
        fields["text"] = value
    elif isinstance(value, bytes):
        fields["image"] = value
    elif value is not None:
        fields["vector"] = wire(value)
    elif point_id:
        fields["point_id"] = point_id
    return search_pb2.QueryTerm(**fields)


@dataclass(frozen=True)
class Refusal:
    """What a caller learns from a call or an item that failed."""

    code: str
    reason: str
    message: str
    metadata: dict[str, str] = field(default_factory=dict)
    retry_after_s: float | None = None

    @property
    def field(self) -> str:
        return self.metadata.get("field", "")


def refusal(status: status_pb2.Status) -> Refusal:
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert any(packed.Unpack(info) for packed in status.details), f"no ErrorInfo in {status}"
    retries = any(packed.Unpack(retry) for packed in status.details)
    names = {code.value[0]: code.name for code in grpc.StatusCode}
    return Refusal(
        names[status.code],
        info.reason,
        status.message,
        dict(info.metadata),
        retry.retry_delay.ToMilliseconds() / 1000 if retries else None,
    )


async def refused(call: Awaitable[Any]) -> Refusal:
    """Awaits a call that must fail with one of our errors."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = rpc_status.from_call(caught.value)
    assert status is not None, f"no rich status: {caught.value}"
    return refusal(status)


@asynccontextmanager
async def serving(
    data: Path,
    encoder_address: str,
    settings: SearchSettings,
    second_address: str = "",
    guard: Guard | None = None,
) -> AsyncIterator[Client]:
    store = await QdrantEdge.open(data)
    addresses = [encoder_address, second_address] if second_address else [encoder_address]
    encoders = [EncoderClient(address, settings.encoder_timeout_s) for address in addresses]
    calls = CallInterceptor(requests(most_elements=settings.most_elements), guard=guard)
    server = grpc.aio.server(interceptors=[calls], options=OWN_PORT)
    calibrations = CalibrationCache(store)
    for service in services(store, calibrations, settings, *encoders):
        service.add(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Client(
            search_pb2_grpc.SearchServiceStub(channel),
            collection_pb2_grpc.CollectionServiceStub(channel),
            server,
            channel,
            f"127.0.0.1:{port}",
        )
    await server.stop(None)
    await calibrations.close()
    for encoder_client in encoders:
        await encoder_client.close()
    await store.close()


def parse(text: str) -> filter_pb2.Filter:
    return Parse(text, filter_pb2.Filter())


def ids(response: search_pb2.SearchResponse) -> list[str]:
    return [hit.id for hit in response.hits]


def request(*terms: search_pb2.QueryTerm, collection: str = "c", **fields) -> search_pb2.SearchRequest:
    return search_pb2.SearchRequest(collection=collection, query=terms, **fields)


async def fill_arc(client: Client, encoder: FakeEncoder) -> None:
    """Ten images on an arc: p0 is nearest to unit(1), p9 farthest."""
    await client.create(
        payload_indexes=[
            collection_pb2.PayloadIndex(field="brand", type=collection_pb2.PAYLOAD_INDEX_TYPE_KEYWORD),
            collection_pb2.PayloadIndex(field="price", type=collection_pb2.PAYLOAD_INDEX_TYPE_FLOAT),
        ]
    )
    await client.upsert(
        *(
            {
                "id": f"p{i}",
                "image_vector": unit(math.cos(i / 10), math.sin(i / 10)),
                "payload": {"price": i, "brand": "even" if i % 2 == 0 else "odd", "shop": {"city": "Ulm"}},
            }
            for i in range(10)
        )
    )
    encoder.vectors = {"first": unit(1), b"first": unit(1), "last": unit(math.cos(0.9), math.sin(0.9))}
    encoder.calls.clear()
