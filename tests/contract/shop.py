"""The stores, a shop of four points, and shorthands for asking a store about it."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import numpy as np

from search_service.stores.collection import CollectionSpec
from search_service.stores.edge.store import QdrantEdge
from search_service.stores.filters import Filter
from search_service.stores.protocol import (
    Listing,
    StoredPoint,
    VectorQuery,
    VectorStore,
)
from search_service.stores.qdrant.store import QdrantServer
from tests.local_qdrant import LocalQdrant

# Qdrant Edge; the server store over qdrant-client's local mode, which stands in for the wire; and,
# where QDRANT_URL is set, over a real server. Read here, because no test has it in its environment.
QDRANT_URL, QDRANT_API_KEY = os.environ.get("QDRANT_URL"), os.environ.get("QDRANT_API_KEY")
QDRANT_GRPC_PORT = int(os.environ.get("QDRANT_GRPC_PORT", "6334"))

DIMENSION = 8


def unit(*numbers: float) -> np.ndarray:
    vector = np.zeros(DIMENSION, np.float32)
    vector[: len(numbers)] = numbers
    return vector / np.linalg.norm(vector)


def vectors(seed: int, count: int) -> np.ndarray:
    """As many directions, of length 1."""
    made = np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


class NoEncoder:
    """Ready vectors and stored points need none."""


def spec(**changes) -> CollectionSpec:
    values = {
        "name": f"contract-{uuid.uuid4().hex[:8]}",
        "dimension": DIMENSION,
        "fingerprint": "f" * 32,
        "model": "toy",
    }
    return CollectionSpec(**{**values, **changes})


ITEMS = [
    StoredPoint("shirt", {"price": 10, "brand": "acme", "tags": ["red", "new"]}, image=unit(1)),
    StoredPoint("shoes", {"price": 25.5, "brand": "zeta", "sold": True}, image=unit(1, 1)),
    StoredPoint("hat", {"price": 40, "brand": None, "note": "a red straw hat", "one": 1}, text=unit(0, 1)),
    StoredPoint(
        "coat",
        {"price": -3, "made": "2024-05-01T12:00:00Z", "shop": {"city": "Riga", "open": False}, "tags": []},
        image=unit(0, 0, 1),
        text=unit(0, 1, 1),
    ),
]


async def ids_of(store: VectorStore, collection: str, condition: object) -> set[str]:
    page = await store.scroll(Listing(collection, Filter(must=(condition,))), limit=100)
    counted = await store.count(collection, Filter(must=(condition,)))
    assert counted == len(page.points)
    return {point.id for point in page.points}


async def search(store: VectorStore, collection: str, **question) -> list[str]:
    question = {"vector": unit(1), "name": "image", "limit": 10, **question}
    (hits,) = await store.query(collection, [VectorQuery(**question)])
    return [hit.point.id for hit in hits]


async def open_store(kind: str, folder: Path) -> VectorStore:
    if kind == "edge":
        return await QdrantEdge.open(folder)
    if kind == "server-local":
        return QdrantServer(LocalQdrant())
    assert QDRANT_URL is not None
    return QdrantServer.connect(QDRANT_URL, QDRANT_API_KEY, timeout=30, grpc_port=QDRANT_GRPC_PORT)


async def close_store(kind: str, store: VectorStore) -> None:
    if kind == "server":
        for info in await store.list_collections():
            if info.spec.name.startswith("contract-"):
                await store.delete_collection(info.spec.name)
    await store.close()
