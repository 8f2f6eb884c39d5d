"""A real search server with a collection to back up, and one without an encoder to restore it to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np
import pytest

from clipsearch.backup import save
from clipsearch.client import retrying
from clipsearch.client.aio import AsyncClient
from clipsearch.client.inputs import Point
from search_service.settings import SearchSettings
from tests.unit.search_service.served import DIMENSION, FakeEncoder, serving
from tests.waiting import HANGS_S

NAME = "shop"
ODD = {
    "integers": [0, -1, 2**53, -(2**53)],
    "floats": [0.1, 1e300, 5e-324, 9007199254740994.0, -0.5],
    "null": None,
    "Straße 北 🚲": {"nested": [{"deep": [[], {}, None, True, False]}], "text": 'a "b"\n\0\u2028'},
    "": "no name",
    "empty": [{}, []],
}


def vector(n: int) -> np.ndarray:
    """Not of length 1."""
    return np.random.default_rng(n).standard_normal(DIMENSION).astype(np.float32)


def made(n: int) -> Point:
    """Every third of images only, of texts only, of both."""
    image = vector(n) if n % 3 != 1 else None
    text = vector(-n & 0xFFFF) if n % 3 != 0 else None
    return Point(f"p{n}", image_vector=image, text_vector=text, payload={"n": n})


@pytest.fixture
async def clients(tmp_path: Path) -> AsyncIterator[tuple[AsyncClient, AsyncClient]]:
    """Of a service with an encoder, and of one whose encoder is away."""
    fake = FakeEncoder()
    await fake.start()
    async with AsyncExitStack() as stack:
        found = []
        for name, address in (("here", fake.address), ("there", "127.0.0.1:1")):
            served = await stack.enter_async_context(serving(tmp_path / name, address, SearchSettings()))
            found.append(await stack.enter_async_context(AsyncClient(served.address, timeout=HANGS_S)))
        yield found[0], found[1]
    await fake.stop()


@pytest.fixture
async def here(clients) -> AsyncClient:
    """Of the service with the collection."""
    client = clients[0]
    await client.create_collection(
        NAME,
        payload_indexes={"n": "integer"},
        bm25_field="title",
        hnsw_m=24,
        quantization="scalar",
        quantization_quantile=0.99,
        on_disk_payload=False,
    )
    await client.update_alias("goods", NAME)
    await client.upsert(NAME, [made(n) for n in range(200)])
    odd = Point("id/ü \0 🚲", text="words", payload=ODD)
    await client.upsert(NAME, [odd, Point("bare", image_vector=vector(7))])
    await client.delete_vectors(NAME, [made(5).id], vectors=["image", "text"])
    return client


@pytest.fixture
def there(clients) -> AsyncClient:
    """Of the service without."""
    return clients[1]


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven parts or so, of a page or two each."""
    monkeypatch.setattr(save, "_PART_BYTES", 1000)
    monkeypatch.setattr(retrying, "_PAGE", 16)


class Instead:
    """A client with some methods of the test's own."""

    def __init__(self, client: AsyncClient, **methods: object) -> None:
        self._client = client
        self.__dict__.update(methods)

    def __getattr__(self, name: str) -> object:
        return getattr(self._client, name)


async def everything(client: AsyncClient, collection: str) -> dict[str, tuple[object, ...]]:
    """All points, their vectors as bytes."""
    found = [point async for point in client.list_points(collection, with_vectors=True)]
    assert len(found) == len({point.id for point in found})
    return {
        point.id: (
            repr(sorted(point.payload.items())),
            *(None if v is None else v.tobytes() for v in (point.image_vector, point.text_vector)),
        )
        for point in found
    }
