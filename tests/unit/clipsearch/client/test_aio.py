"""The asyncio client keeps slow work off the loop, and only that."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from clipsearch.client import requests
from clipsearch.client.aio import AsyncClient, AsyncEncoderClient
from clipsearch.client.inputs import Point, Search, Term
from clipsearch.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from clipsearch.search.v1 import search_pb2, search_pb2_grpc


class FakeSearch(search_pb2_grpc.SearchServiceServicer):
    def __init__(self, got: dict[str, int]) -> None:
        self.got = got  # bytes of the image, by method

    async def Search(self, request, context):
        self.got["Search"] = len(request.query[0].image)
        return search_pb2.SearchResponse()

    async def SearchBatch(self, request, context):
        self.got["SearchBatch"] = len(request.searches[0].query[0].image)
        return search_pb2.SearchBatchResponse()

    async def Upsert(self, request, context):
        self.got["Upsert"] = len(request.points[0].image)
        return search_pb2.UpsertResponse()


class FakeEncoder(encoder_pb2_grpc.EncoderServiceServicer):
    def __init__(self, got: dict[str, int]) -> None:
        self.got = got

    async def Classify(self, request, context):
        self.got["Classify"] = len(request.images[0])
        return encoder_pb2.ClassifyResponse()

    async def EncodeImage(self, request, context):
        self.got["EncodeImage"] = len(request.images[0])
        return encoder_pb2.EncodeImageResponse(embeddings=[{"vector": {"values": [1.0]}}])


@pytest.fixture
def got() -> dict[str, int]:
    """What has arrived at the services."""
    return {}


@pytest.fixture
async def client(got) -> AsyncIterator[AsyncClient]:
    server = grpc.aio.server()
    search_pb2_grpc.add_SearchServiceServicer_to_server(FakeSearch(got), server)
    encoder_pb2_grpc.add_EncoderServiceServicer_to_server(FakeEncoder(got), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with AsyncClient(f"127.0.0.1:{port}", timeout=5) as client:
        yield client
    await server.stop(None)


@pytest.fixture
def read_by(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The threads that images were read in."""
    threads = []
    read = requests.image_bytes

    def image_bytes(*args):
        threads.append(threading.current_thread())
        return read(*args)

    monkeypatch.setattr(requests, "image_bytes", image_bytes)
    return threads


async def test_a_search_without_an_image_needs_no_thread(client, monkeypatch):
    monkeypatch.setattr(asyncio, "to_thread", None)
    await client.search("x", "a cat", filter=["price<20"])
    await client.search("x", vector=[1.0, 0.0])
    await client.search("x", query=[Term(text="a cat"), Term(point_id="7", weight=-1)])


async def test_an_image_is_not_read_on_the_loop(client, read_by, tmp_path: Path):
    path = tmp_path / "cat.jpg"
    await asyncio.to_thread(path.write_bytes, b"jpeg")
    await client.search("x", image=path)
    await client.search("x", query=[Term(text="a cat"), Term(image=path)])
    assert threading.current_thread() not in read_by
    assert len(read_by) == 2


@pytest.fixture
def serialised_by(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The threads that requests of 1 MiB or more were serialised in."""
    threads = []
    to_thread = asyncio.to_thread

    async def noted(function, /, *args, **options):
        def run():
            if function.__name__ == "SerializeToString":
                threads.append(threading.current_thread())
            return function(*args, **options)

        return await to_thread(run)

    monkeypatch.setattr(asyncio, "to_thread", noted)
    return threads


async def test_large_requests_of_every_kind_are_serialised_in_a_thread_and_arrive(client, got, serialised_by):
    image = bytes(2_000_000)
    await client.search("x", image=image)
    await client.search_batch("x", [Search(image=image)])
    await client.upsert("x", [Point("p", image=image)])
    async with AsyncEncoderClient(client.address, timeout=5) as encoder:
        await encoder.classify([image], ["cat"])
        await encoder.encode_images([image])
    assert len(serialised_by) == 5
    assert threading.current_thread() not in serialised_by
    assert got == dict.fromkeys(("Search", "SearchBatch", "Upsert", "Classify", "EncodeImage"), len(image))


async def test_small_requests_are_serialised_where_they_are(client, serialised_by):
    await client.search("x", "a cat")
    await client.search("x", image=b"jpeg")
    assert serialised_by == []
