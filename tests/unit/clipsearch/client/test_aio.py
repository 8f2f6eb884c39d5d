"""The asyncio client keeps slow work off the loop, and only that."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from clipsearch.client import convert
from clipsearch.client.aio import AsyncClient, AsyncEncoderClient
from clipsearch.client.inputs import Point, Search, Term
from clipsearch.encoder.v1 import encoder_pb2
from tests.unit.clipsearch.serving.served import running
from tests.waiting import HANGS_S

IMAGES = {
    "/clipsearch.search.v1.SearchService/Search": lambda request: request.query[0].image,
    "/clipsearch.search.v1.SearchService/SearchBatch": lambda request: request.searches[0].query[0].image,
    "/clipsearch.search.v1.SearchService/Upsert": lambda request: request.points[0].image,
    "/clipsearch.encoder.v1.EncoderService/Classify": lambda request: request.images[0],
    "/clipsearch.encoder.v1.EncoderService/EncodeImage": lambda request: request.images[0],
}
ENCODED = encoder_pb2.EncodeImageResponse(embeddings=[{"vector": {"values": [1.0]}}])


@pytest.fixture
def got() -> dict[str, int]:
    """Bytes of the image that has arrived, by method."""
    return {}


@pytest.fixture
async def client(got) -> AsyncIterator[AsyncClient]:
    async with running() as server:

        def answer(name, image_of):
            async def answered(request, context):
                got[name] = len(image_of(request)) if request.ByteSize() > 1_000 else 0
                return ENCODED if name.endswith("EncodeImage") else None

            return answered

        server.answers = {name: answer(name, image_of) for name, image_of in IMAGES.items()}
        async with AsyncClient(server.address, timeout=HANGS_S) as client:
            yield client


@pytest.fixture
def read_by(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The threads that images were read in."""
    threads = []
    read = convert.image_bytes

    def image_bytes(*args):
        threads.append(threading.current_thread())
        return read(*args)

    monkeypatch.setattr(convert, "image_bytes", image_bytes)
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
    await client.search("x", "a cat", context=[(Term(image=path), Term(text="a dog"))])
    assert threading.current_thread() not in read_by
    assert len(read_by) == 3


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
    async with AsyncEncoderClient(client.address, timeout=HANGS_S) as encoder:
        await encoder.classify([image], ["cat"])
        await encoder.encode_images([image])
    assert len(serialised_by) == 5
    assert threading.current_thread() not in serialised_by
    assert got == dict.fromkeys(IMAGES, len(image))


async def test_small_requests_are_serialised_where_they_are(client, serialised_by):
    await client.search("x", "a cat")
    await client.search("x", image=b"jpeg")
    assert serialised_by == []


async def test_terms_that_come_from_a_generator_are_all_sent(client, got):
    await client.search("c", query=(Term(image=b"x" * n) for n in (2_000, 3_000)))
    assert got == {"/clipsearch.search.v1.SearchService/Search": 2_000}, "the first of the two"
