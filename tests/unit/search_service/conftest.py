"""Fixtures: a fake encoder, and a search server in front of it."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings

from clipsearch.search.v1 import collection_pb2
from search_service.settings import SearchSettings
from tests.unit.search_service.served import Client, FakeEncoder, serving, unit

# A busy machine must not fail a property.
hypothesis_settings.register_profile("patient", deadline=None)
hypothesis_settings.load_profile("patient")


@pytest.fixture
async def encoder() -> AsyncIterator[FakeEncoder]:
    fake = FakeEncoder()
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
async def second() -> AsyncIterator[FakeEncoder]:
    """The encoder of another model."""
    fake = FakeEncoder()
    fake.name, fake.fingerprint = "other", "fake-2"
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
def settings() -> SearchSettings:
    """Small limits where a test would otherwise be slow."""
    return SearchSettings(max_points=32, max_limit=100, max_window=500, max_ids=50, encoder_timeout_s=5)


@pytest.fixture
async def client(tmp_path: Path, encoder: FakeEncoder, settings: SearchSettings) -> AsyncIterator[Client]:
    """A search server with an empty store."""
    async with serving(tmp_path / "data", encoder.address, settings) as client:
        yield client


@pytest.fixture
async def arc(client: Client, encoder: FakeEncoder) -> None:
    """Ten pictures on an arc: p0 is nearest to unit(1), p9 farthest."""
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
