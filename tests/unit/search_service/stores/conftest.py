"""Shared by the tests of the stores."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest

from search_service.stores.collection import CollectionSpec
from search_service.stores.edge import indexing
from search_service.stores.edge.indexing import MaintenancePolicy
from search_service.stores.edge.store import QdrantEdge
from search_service.stores.protocol import StoredPoint
from search_service.stores.qdrant import calls
from search_service.stores.qdrant.store import QdrantServer
from tests.local_qdrant import LocalQdrant
from tests.unit.search_service.stores.ends import QUIET, no_optimizer, processes
from tests.unit.search_service.stores.qdrant import Qdrant

DIMENSION = 16


@pytest.fixture
def spec() -> CollectionSpec:
    return CollectionSpec("shop", DIMENSION, "f" * 32, model="toy")


@pytest.fixture
def points() -> Callable[..., list[StoredPoint]]:
    """`points(3)`: p0, p1 and p2, all with an image; every second with a text too."""

    def make(count: int, start: int = 0, **payload: object) -> list[StoredPoint]:
        rng = np.random.default_rng(start)
        vectors = rng.standard_normal((count, 2, DIMENSION)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
        return [
            StoredPoint(
                f"p{start + n}",
                {"n": start + n, **payload},
                image=vectors[n, 0],
                text=vectors[n, 1] if n % 2 else None,
            )
            for n in range(count)
        ]

    return make


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[QdrantEdge]:
    """An Edge store that does nothing by itself while a test lasts."""
    opened = await QdrantEdge.open(tmp_path / "data", MaintenancePolicy(quiet_s=600))
    yield opened
    await opened.close()


@pytest.fixture
def children() -> Callable[[], set[int]]:
    """The processes that a test's store has, alive or not waited for."""
    before = processes()
    return lambda: processes() - before


@pytest.fixture
async def shop(tmp_path, spec, points, monkeypatch, children):
    """A store with ten points, whose index is built when a test says so."""
    monkeypatch.setattr(indexing, "_optimize", no_optimizer)
    store = await QdrantEdge.open(tmp_path, QUIET)
    await store.create_collection(spec)
    await store.upsert("shop", points(10))
    yield store
    await store.close()
    assert children() == set()


@pytest.fixture
async def qdrant() -> AsyncIterator[Qdrant]:
    """Answers as a Qdrant server would, and keeps what it was asked."""
    server = Qdrant()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def server_store(qdrant: Qdrant, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[QdrantServer]:
    """A store on `qdrant`, which asks nothing twice because an answer is late."""
    monkeypatch.setattr(calls, "_HEDGE_AFTER_S", 3600)
    opened = QdrantServer.connect(
        "http://127.0.0.1:1",
        "a key",
        timeout=3600,  # longer than a test may last: what is given up sooner is so for its caller's sake
        grpc_port=qdrant.port,
        ordering="strong",
        consistency="majority",
    )
    yield opened
    await opened.close()


@pytest.fixture
async def memory() -> AsyncIterator[tuple[QdrantServer, LocalQdrant]]:
    """A server's store on qdrant-client's own memory, and that."""
    client = LocalQdrant()
    store = QdrantServer(client)
    yield store, client
    await store.close()
