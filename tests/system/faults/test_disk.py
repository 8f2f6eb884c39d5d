"""The data directory's disk is full, or read-only: at start, and while the service runs."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from clipsearch import Client, Point
from clipsearch.serving.errors import ResourceExhausted, Unavailable
from search_service.stores.collection import CollectionSpec
from search_service.stores.edge.files import free_bytes
from search_service.stores.edge.indexing import MaintenancePolicy
from search_service.stores.edge.store import QdrantEdge
from search_service.stores.protocol import StoredPoint
from tests.health import SERVING, failure
from tests.processes import children

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="a small disk of its own can only be mounted by root"),
]

DIMENSION = 64


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A disk of 400 MB, mostly below the reserve of 256 MB that the store keeps free."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", str(folder)], check=False)
    if made.returncode:
        pytest.skip("a disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def points(count: int) -> list[Point]:
    vectors = np.random.default_rng(1).normal(size=(count, DIMENSION)).astype(np.float32)
    return [Point(str(n), image_vector=vector) for n, vector in enumerate(vectors)]


@pytest.fixture
def search(service, encoder, disk):
    process = service("search", SEARCH_ENCODER=encoder.address, SEARCH_DATA_DIR=str(disk / "data")).start()
    yield process
    process.stop()


def test_a_full_disk_refuses_writes_loses_nothing_and_goes_on_once_there_is_room(search, disk, health):
    with Client(search.address) as client:
        client.create_collection("c", dimension=DIMENSION, fingerprint="f")
        client.upsert("c", points(100))
        filler = disk / "filler"
        filler.write_bytes(bytes(220 * 1024 * 1024))
        error = failure(lambda: client.upsert("c", points(200)))
        assert (error.code, error.reason) == ("RESOURCE_EXHAUSTED", "STORE_DISK_FULL")
        assert str(disk) not in error.message
        assert error.retry_after is not None
        # what needs no disk works on, and health stays with it
        assert client.count("c") == 100
        assert client.search("c", vector=points(1)[0].image_vector)[0].id == "0"
        assert health(search.address).all() == (SERVING,) * 4
        filler.unlink()
        client.upsert("c", points(200))
        assert client.count("c") == 200
    search.stop()
    search.start()
    with Client(search.address) as client:
        assert client.count("c") == 200


def test_a_disk_that_cannot_be_written_any_more_fails_writes_and_serves_reads(search, disk, health):
    with Client(search.address) as client:
        client.create_collection("c", dimension=DIMENSION, fingerprint="f")
        client.upsert("c", points(100))
        # A disk cannot be made read-only while files on it are open; to the service this looks the same.
        for pid in (search.pid, *children(search.pid)):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        error = failure(lambda: client.create_collection("d", dimension=4, fingerprint="f"))
        assert (error.code, error.reason) == ("UNAVAILABLE", "STORE_UNAVAILABLE")
        assert str(disk) not in error.message
        assert client.count("c") == 100
        assert client.search("c", vector=points(1)[0].image_vector)[0].id == "0"
        assert [collection.name for collection in client.list_collections()] == ["c"]
        assert health(search.address).all() == (SERVING,) * 4
        for pid in (search.pid, *children(search.pid)):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        client.create_collection("d", dimension=4, fingerprint="f")


async def test_a_disk_without_any_reserve_keeps_what_was_acknowledged(disk):
    store = await QdrantEdge.open(disk / "data", MaintenancePolicy(min_free_bytes=0))
    await store.create_collection(CollectionSpec("c", DIMENSION, "f"))
    (disk / "filler").write_bytes(bytes(free_bytes(disk) - 4 * 1024 * 1024))
    acknowledged = 0
    vector = np.full(DIMENSION, 0.125, np.float32)

    async def fill() -> None:
        nonlocal acknowledged
        for _ in range(1000):
            ids = [f"p{acknowledged + n}" for n in range(100)]
            await store.upsert("c", [StoredPoint(id, {"text": "x" * 100}, image=vector) for id in ids])
            acknowledged += len(ids)

    with pytest.raises((ResourceExhausted, Unavailable)):
        await fill()
    (disk / "filler").unlink()
    assert acknowledged > 0
    there = {point.id for point in await store.get("c", [f"p{n}" for n in range(acknowledged)])}
    assert len(there) == acknowledged
    await store.upsert("c", [StoredPoint("after", {}, image=vector)])
    await store.close()
