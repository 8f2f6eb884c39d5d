"""The contract of stores on real servers, and both services over them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clipsearch import Client
from tests.bundles import ROOT
from tests.processes import clipsearch, environment
from tests.qdrant_nodes import named

pytestmark = pytest.mark.timeout(600)
REPLICAS = {"STORAGE__COLLECTION__REPLICATION_FACTOR": "2"}


def contract(url: str, grpc_port: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "tests/contract"],
        cwd=ROOT,
        env=environment(QDRANT_URL=url, QDRANT_GRPC_PORT=str(grpc_port), QDRANT_ONLY="1"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-10_000:]
    print(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("count", [1, 3])
def test_the_contract_holds(make_nodes, count):
    nodes = make_nodes(count, **REPLICAS)
    contract(nodes.url, nodes.grpc_port)


def test_the_contract_holds_on_the_server_that_was_named():
    if "://" not in named():
        pytest.skip("QDRANT is a binary")
    contract(named(), 6334)


@pytest.mark.parametrize("count", [1, 3])
def test_pictures_are_indexed_and_found(make_nodes, client_on, encoder, photos: list[Path], count):
    client: Client = client_on(make_nodes(count, **REPLICAS), SEARCH_ENCODER=encoder.address)
    done = clipsearch("index", str(photos[0].parent), "-c", "photos", CLIPSEARCH_SERVER=client.address)
    assert done.returncode == 0, done.stderr
    found = client.get_collection("photos")
    assert (found.points, found.image_vectors) == (len(photos), len(photos))
    assert found.replication_factor == (2 if count == 3 else 1) or count == 1
    for photo in photos[:5]:
        assert client.search("photos", image=photo, limit=1)[0].payload["path"] == str(photo)
    assert len(client.search("photos", "a cat", limit=3)) == 3
    assert len(list(client.list_points("photos"))) == len(photos)
