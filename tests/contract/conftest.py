"""The stores that the contract is held against."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from search_service.stores.protocol import VectorStore
from tests.contract.shop import ITEMS, QDRANT_URL, close_store, open_store, spec

# QDRANT_ONLY leaves out those that need no server: `make test-qdrant`.
STORES = [
    *(["edge", "server-local"] if "QDRANT_ONLY" not in os.environ else []),
    *(["server"] if QDRANT_URL else []),
]


@pytest.fixture(params=STORES)
def store_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def store(store_kind: str, tmp_path: Path) -> AsyncIterator[VectorStore]:
    opened = await open_store(store_kind, tmp_path / "data")
    yield opened
    await close_store(store_kind, opened)


@pytest.fixture
async def collection(store) -> str:
    """A collection without points."""
    made = spec()
    await store.create_collection(made)
    return made.name


@pytest.fixture
async def shop(store, collection) -> str:
    """A collection with four points: two pictures, one text, one of both."""
    await store.upsert(collection, ITEMS)
    return collection
