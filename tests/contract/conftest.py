"""The stores that the contract is held against."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from qdrant_client import AsyncQdrantClient

from search_service.stores.edge.store import QdrantEdge
from search_service.stores.protocol import VectorStore
from search_service.stores.qdrant.store import QdrantServer
from tests import local_qdrant
from tests.contract.shop import ITEMS, spec

# Qdrant Edge; the server store over qdrant-client's local mode, which stands in for the wire; and,
# where QDRANT_URL is set, over a real server. Read here, because no test has it in its environment.
QDRANT_URL, QDRANT_API_KEY = os.environ.get("QDRANT_URL"), os.environ.get("QDRANT_API_KEY")
QDRANT_GRPC_PORT = int(os.environ.get("QDRANT_GRPC_PORT", "6334"))
# QDRANT_ONLY leaves out those that need no server: `make test-qdrant`.
STORES = [
    *(["edge", "server-local"] if "QDRANT_ONLY" not in os.environ else []),
    *(["server"] if QDRANT_URL else []),
]


@pytest.fixture(params=STORES)
def store_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def open_store(kind: str, folder: Path) -> VectorStore:
    if kind == "edge":
        return await QdrantEdge.open(folder)
    if kind == "server-local":
        return QdrantServer(AsyncQdrantClient(location=":memory:"), wire=local_qdrant)
    assert QDRANT_URL is not None
    return QdrantServer.connect(QDRANT_URL, QDRANT_API_KEY, timeout=30, grpc_port=QDRANT_GRPC_PORT)


async def close_store(kind: str, store: VectorStore) -> None:
    if kind == "server":
        for info in await store.list_collections():
            if info.spec.name.startswith("contract-"):
                await store.delete_collection(info.spec.name)
    await store.close()


@pytest.fixture
async def store(store_kind: str, tmp_path: Path) -> AsyncIterator[VectorStore]:
    opened = await open_store(store_kind, tmp_path / "data")
    yield opened
    await close_store(store_kind, opened)


@pytest.fixture(name="open_store")
def _open_store():
    """For tests that keep the store in a loop of their own."""
    return open_store


@pytest.fixture(name="close_store")
def _close_store():
    return close_store


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
