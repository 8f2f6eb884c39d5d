"""Two models behind a real search server, and a client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from clipsearch.client.aio import AsyncClient
from search_service.settings import SearchSettings
from tests.unit.search_service.served import FakeEncoder, serving
from tests.waiting import HANGS_S


@pytest.fixture
async def encoders() -> AsyncIterator[tuple[FakeEncoder, FakeEncoder]]:
    """Of the models `one` and `two`."""
    fakes = FakeEncoder(), FakeEncoder()
    for fake, name in zip(fakes, ("one", "two"), strict=True):
        fake.name = fake.fingerprint = name
        await fake.start()
    yield fakes
    for fake in fakes:
        await fake.stop()


@pytest.fixture
async def client(tmp_path: Path, encoders: tuple[FakeEncoder, FakeEncoder]) -> AsyncIterator[AsyncClient]:
    """Of a search server with the empty collection `old`."""
    one, two = encoders
    async with (
        serving(tmp_path / "data", one.address, SearchSettings(), two.address) as served,
        AsyncClient(served.address, timeout=HANGS_S) as client,
    ):
        await client.create_collection("old", payload_indexes={"n": "integer"}, hnsw_m=24)
        yield client
