"""A real Qdrant, of the binary that QDRANT names: one node, or a cluster of three with two copies a shard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from clipsearch import Client
from search_service.stores.qdrant.store import QdrantServer
from tests.processes import ServiceProcess, Start
from tests.qdrant_nodes import Nodes, named

MakeNodes = Callable[..., Nodes]
DIMENSION = 16


@pytest.fixture(scope="session")
def binary() -> str:
    if not named() or "://" in named():
        pytest.skip("starts nodes of its own: QDRANT must be a binary")
    return named()


@pytest.fixture
def make_nodes(binary: str, tmp_path: Path) -> Iterator[MakeNodes]:
    """Starts nodes for one test: how many, and Qdrant's settings."""
    made: list[Nodes] = []

    def make(count: int = 1, **settings: str) -> Nodes:
        made.append(Nodes(binary, tmp_path / f"nodes{len(made)}", count, **settings).__enter__())
        return made[-1]

    yield make
    for nodes in made:
        nodes.__exit__(None, None, None)


@pytest.fixture(scope="module")
def three(binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """A cluster that the module's tests leave healthy."""
    replicas = {"STORAGE__COLLECTION__REPLICATION_FACTOR": "2"}
    with Nodes(binary, tmp_path_factory.mktemp("three"), 3, **replicas) as nodes:
        yield nodes


@pytest.fixture
def search_on(service: Start) -> Callable[..., ServiceProcess]:
    """A search service on nodes; without an encoder, unless it is told of one."""

    def start(nodes: Nodes, **settings: str) -> ServiceProcess:
        return service(
            "search", **{"SEARCH_ENCODER": "127.0.0.1:1"} | nodes.search_settings | settings
        ).start()

    return start


@pytest.fixture
def client_on(search_on) -> Iterator[Callable[..., Client]]:
    """A client of such a service."""
    made: list[Client] = []

    def start(nodes: Nodes, **settings: str) -> Client:
        made.append(Client(search_on(nodes, **settings).address))
        return made[-1]

    yield start
    for client in made:
        client.close()


def connect(nodes: Nodes, key: str | None = None, **options) -> QdrantServer:
    """A store on the nodes."""
    return QdrantServer.connect(nodes.url, key, timeout=30, grpc_port=nodes.grpc_port, **options)


def vectors(count: int, seed: int = 0) -> np.ndarray:
    made = np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)
