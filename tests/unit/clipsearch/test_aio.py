"""The asyncio client keeps slow work off the loop, and only that."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from clipsearch import requests
from clipsearch.aio import AsyncClient, AsyncEncoderClient
from clipsearch.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from clipsearch.inputs import Term
from clipsearch.search.v1 import search_pb2, search_pb2_grpc


class FakeSearch(search_pb2_grpc.SearchServiceServicer):
    async def Search(self, request, context):
        return search_pb2.SearchResponse()


class FakeEncoder(encoder_pb2_grpc.EncoderServiceServicer):
    async def Classify(self, request, context):
        return encoder_pb2.ClassifyResponse()


@pytest.fixture
async def client() -> AsyncIterator[AsyncClient]:
    server = grpc.aio.server()
    search_pb2_grpc.add_SearchServiceServicer_to_server(FakeSearch(), server)
    encoder_pb2_grpc.add_EncoderServiceServicer_to_server(FakeEncoder(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with AsyncClient(f"127.0.0.1:{port}", timeout=5) as client:
        yield client
    await server.stop(None)


@pytest.fixture
def built_by(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The threads that searches were built in."""
    threads = []
    build = requests.search

    def search(*args, **options):
        threads.append(threading.current_thread())
        return build(*args, **options)

    monkeypatch.setattr(requests, "search", search)
    return threads


async def test_a_search_without_a_picture_needs_no_thread(client, built_by):
    await client.search("x", "a cat", filter=["price<20"])
    await client.search("x", vector=[1.0, 0.0])
    await client.search("x", query=[Term(text="a cat"), Term(point_id="7", weight=-1)])
    assert built_by == [threading.current_thread()] * 3


async def test_a_picture_is_not_read_on_the_loop(client, built_by, tmp_path: Path):
    path = tmp_path / "cat.jpg"
    await asyncio.to_thread(path.write_bytes, b"jpeg")
    await client.search("x", image=path)
    await client.search("x", query=[Term(text="a cat"), Term(image=path)])
    assert threading.current_thread() not in built_by
    assert len(built_by) == 2


async def test_a_picture_is_not_serialised_on_the_loop(client, monkeypatch):
    threads = []

    class Request:
        def SerializeToString(self) -> bytes:
            threads.append(threading.current_thread())
            return b""

    monkeypatch.setattr(requests, "search", lambda *_, **__: Request())
    monkeypatch.setattr(requests, "classify", lambda *_: iter([Request()]))
    await client.search("x", image=b"jpeg")
    async with AsyncEncoderClient(client.address, timeout=5) as encoder:
        await encoder.classify([b"jpeg"], ["cat"])
    assert len(threads) == 2
    assert threading.current_thread() not in threads
