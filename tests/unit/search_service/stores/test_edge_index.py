from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np
import pytest

from search_service.stores.collection import QuantizationParams
from search_service.stores.edge import files, indexing
from search_service.stores.edge.indexing import MaintenancePolicy
from search_service.stores.edge.store import QdrantEdge
from search_service.stores.filters import Filter, MatchValue
from search_service.stores.protocol import (
    PayloadChange,
    StoredPoint,
    VectorQuery,
    WordsQuery,
)
from tests.unit.search_service.stores.ends import freeze_builders, rebuilt
from tests.waiting import until

# An index is built with what others leave: minutes where many want the cores.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

EAGER = MaintenancePolicy(index_threshold=300, quiet_s=0.1)

# Builds an index and, at one of its steps, says so and goes no further.
INDEX_UNTIL = """
import asyncio, sys
from pathlib import Path
from search_service.stores.edge import indexing
from search_service.stores.edge.store import QdrantEdge
from search_service.stores.edge.indexing import MaintenancePolicy

async def stand_still(*arguments):
    print("there", flush=True)
    await asyncio.sleep(3600)

async def main():
    setattr(indexing, sys.argv[2], stand_still)
    store = await QdrantEdge.open(Path(sys.argv[1]), MaintenancePolicy(index_threshold=100, quiet_s=3600))
    await indexing.rebuild(store._live["shop"], store._children, 100)

asyncio.run(main())
"""


@asynccontextmanager
async def opened(folder, maintenance):
    store = await QdrantEdge.open(folder, maintenance)
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def eager(tmp_path, spec):
    """A store that builds an index from 300 vectors on, a moment after the last write."""
    async with opened(tmp_path / "data", EAGER) as store:
        await store.create_collection(spec)
        yield store


async def load(store, points, count=500):
    """In one write: between two, the maintenance could find the writers quiet, and index a part."""
    starts = range(0, count, 500)
    await store.upsert("shop", [point for start in starts for point in points(500, start=start)])


async def indexed(store):
    """Waits until the maintenance that has begun has done all there is to do; a build takes what it takes."""
    await store._live["shop"].maintenance
    return (await store.get_collection("shop")).indexed_share


async def test_an_index_is_built_without_being_asked_for(eager, points, tmp_path):
    await load(eager, points)
    assert await indexed(eager) == 1.0
    assert eager._live["shop"].shard != "shard.1"
    folder = tmp_path / "data" / "collections" / "shop"
    assert [path.name for path in folder.glob("shard.*")] == [eager._live["shop"].shard]
    info = await eager.get_collection("shop")
    assert (info.points, info.image_vectors, info.text_vectors) == (500, 500, 250)
    asked = points(500)[7]
    (hits,) = await eager.query("shop", [VectorQuery(asked.image, "image", 3)])
    assert hits[0].point.id == asked.id
    assert hits[0].score == pytest.approx(1.0, abs=1e-4)


async def test_words_are_looked_up_in_an_indexed_collection_too(tmp_path, spec, points):
    titled = [replace(point, payload={"title": f"part {point.id}"}) for point in points(500)]

    async def looked_up(store, words):
        (found,) = await store.query("shop", [WordsQuery(words, 2)])
        return found[0].point.id if found else None

    async with opened(tmp_path, EAGER) as store:
        await store.create_collection(replace(spec, bm25_field="title"))
        await store.upsert("shop", titled)
        assert await indexed(store) == 1.0
        assert store._live["shop"].shard != "shard.1"
        assert await looked_up(store, titled[7].id) == titled[7].id
        await store.update_payload("shop", [titled[7].id], PayloadChange(set={"title": "spare"}))
    async with opened(tmp_path, EAGER) as store:
        assert await looked_up(store, titled[7].id) != titled[7].id
        assert await looked_up(store, "spare") == titled[7].id


async def test_writers_that_never_pause_do_not_keep_a_collection_from_its_index(tmp_path, spec, points):
    async with opened(tmp_path, MaintenancePolicy(index_threshold=300, quiet_s=600, busy_s=0.3)) as store:
        await store.create_collection(spec)
        written = 0
        while store._live["shop"].shard == "shard.1":
            await store.upsert("shop", points(100, start=written))
            written += 100
            await asyncio.sleep(0.02)
        info = await store.get_collection("shop")
        assert info.points == written
        assert info.indexed_share > 0


async def test_the_threshold_is_that_of_today_not_of_the_collections_creation(tmp_path, spec, points):
    async with opened(tmp_path, MaintenancePolicy(index_threshold=1_000_000, quiet_s=600)) as store:
        await store.create_collection(spec)
        await load(store, points)
        assert (await store.get_collection("shop")).indexed_share == 0
    async with opened(tmp_path, EAGER) as store:
        await store.delete("shop", ["nobody"])  # wakes the maintenance, as any call does
        assert await indexed(store) == 1.0


async def test_changed_settings_are_built_soon_also_after_a_restart(tmp_path, spec, points):
    async with opened(tmp_path, MaintenancePolicy(index_threshold=300, quiet_s=600)) as store:
        await store.create_collection(spec)
        await load(store, points)
        await store.update_collection("shop", {"hnsw_m": 8, "quantization": "scalar"})
    async with opened(tmp_path, EAGER) as store:
        live = store._live["shop"]
        for m in (8, 12):
            assert live.outdated
            await store.count("shop")  # wakes the maintenance, as any call does
            await indexed(store)
            built = json.loads((live.folder / live.shard / "edge_config.json").read_text())
            assert (built["hnsw_config"]["m"], "scalar" in built["quantization_config"]) == (m, True)
            assert not live.outdated
            if m == 8:
                await store.update_collection("shop", {"hnsw_m": 12})
        asked = points(500)[7]
        (hits,) = await store.query("shop", [VectorQuery(asked.image, "image", 1)])
        assert hits[0].point.id == asked.id
    assert not (live.folder / files.OUTDATED).exists()


async def test_what_is_written_meanwhile_is_in_the_new_index(tmp_path, spec, points, monkeypatch):
    optimize = indexing._optimize
    building, go_on = asyncio.Event(), asyncio.Event()

    async def slow(*arguments):
        building.set()
        await go_on.wait()
        return await optimize(*arguments)

    monkeypatch.setattr(indexing, "_optimize", slow)
    async with opened(tmp_path / "data", EAGER) as store:
        await store.create_collection(spec)
        await load(store, points)
        await building.wait()
        await store.upsert("shop", [StoredPoint("p1", {"new": True}, text=points(1)[0].image)])
        await store.upsert("shop", points(100, start=9000))
        assert await store.delete("shop", ["p2", "p3"]) == 2
        assert await store.delete("shop", Filter(must=(MatchValue("n", 4),))) == 1
        await store.create_payload_index("shop", "n", "integer")
        assert (await store.query("shop", [VectorQuery(points(1)[0].image, "image", 1)]))[0]
        before = store._live["shop"].shard
        go_on.set()
        await until(lambda: store._live["shop"].shard != before)
        await check_late_writes(store)
    async with opened(tmp_path / "data", EAGER) as store:
        await check_late_writes(store)


async def check_late_writes(store):
    info = await store.get_collection("shop")
    assert (info.points, info.image_vectors, info.text_vectors) == (597, 596, 299)
    assert info.spec.payload_indexes == {"n": "integer"}
    assert (await store.get("shop", ["p1", "p2", "p3", "p4"]))[0].payload == {"new": True}
    assert await store.count("shop", Filter(must=(MatchValue("n", 9000),))) == 1


async def test_the_loop_and_the_searches_go_on_while_the_index_is_built(tmp_path, spec, points, monkeypatch):
    async def tick():
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.001)
            stalls.append(time.thread_time() - before)

    stalls = []
    frozen = freeze_builders(monkeypatch)  # it takes as long as the test wants
    async with opened(tmp_path, EAGER) as store:
        await store.create_collection(spec)
        await load(store, points, 2000)
        builder = await frozen.get()
        ticking = asyncio.create_task(tick())
        question = VectorQuery(points(1)[0].image, "image", 10)
        for turn in range(20):
            (hits,) = await store.query("shop", [question])
            assert hits[0].point.id == "p0"
            await store.upsert("shop", points(10, start=10_000 + 10 * turn))
        assert store._live["shop"].shard == "shard.1"
        builder._process.send_signal(signal.SIGCONT)
        while store._live["shop"].shard == "shard.1":
            (hits,) = await store.query("shop", [question])
            assert hits[0].point.id == "p0"
        ticking.cancel()
        assert await store.count("shop") == 2200
    # In time of the processor: the loop waits for nothing, or the test would never end.
    assert max(stalls) < 0.1, f"the event loop was held for {max(stalls):.3f} s"


async def test_no_index_is_begun_without_room_for_its_copy(tmp_path, spec, points, monkeypatch):
    monkeypatch.setattr(indexing, "free_bytes", lambda _: EAGER.min_free_bytes + 1)
    async with opened(tmp_path / "data", EAGER) as store:
        await store.create_collection(spec)
        await load(store, points)
        live = store._live["shop"]
        await live.maintenance
        assert [path.name for path in live.folder.glob("shard.*")] == ["shard.1"]
        assert (await store.get_collection("shop")).indexed_share == 0


@pytest.mark.parametrize("step", ["_optimize", "_take_over", "_clear_up"])
async def test_a_service_killed_while_it_indexes_keeps_a_valid_shard(tmp_path, spec, points, step):
    async with opened(tmp_path, MaintenancePolicy(index_threshold=100, quiet_s=600)) as store:
        await store.create_collection(spec)
        await load(store, points)
    folder = tmp_path / "collections" / "shop"
    command = [sys.executable, "-c", INDEX_UNTIL, str(tmp_path), step]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
    assert program.stdout.readline() == "there\n"
    assert {"shard.1", "shard.2"} <= {path.name for path in folder.glob("shard.*")}
    program.kill()
    program.communicate()
    async with opened(tmp_path, MaintenancePolicy(quiet_s=600)) as store:
        assert await store.count("shop") == 500
        kept = ["shard.2"] if step == "_clear_up" else ["shard.1"]
        assert [path.name for path in folder.glob("shard.*")] == kept


async def test_the_space_of_deleted_points_is_won_back(tmp_path, spec):
    vectors = np.random.default_rng(1).standard_normal((1300, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    note = "x" * 4000
    many = [StoredPoint(f"p{n}", {"note": note, "old": n >= 200}, image=v) for n, v in enumerate(vectors)]
    async with opened(tmp_path, EAGER) as store:
        await store.create_collection(spec)
        await store.upsert("shop", many)
        live = store._live["shop"]
        await live.maintenance
        # The segments alone: the write-ahead log keeps up to 32 MiB whatever is in it.
        before = files.disk_bytes(live.folder / live.shard / "segments")
        assert await store.delete("shop", Filter(must=(MatchValue("old", True),))) == 1100
        await live.maintenance
        assert files.disk_bytes(live.folder / live.shard / "segments") < before / 2
        assert await store.count("shop") == 200


@pytest.mark.parametrize(
    ("quantization", "params"),
    [
        ("scalar", {"quantile": 0.99, "always_ram": True}),
        ("binary", {"encoding": "two_bits", "query_encoding": "scalar8bits"}),
        ("product", {"compression": 4}),
        ("turbo", {"bits": 4.0}),
    ],
)
async def test_an_index_of_compressed_vectors_finds_the_nearest(tmp_path, spec, points, quantization, params):
    made = replace(spec, quantization=quantization, quantization_params=QuantizationParams(**params))
    async with opened(tmp_path, MaintenancePolicy(index_threshold=100, quiet_s=600)) as store:
        await store.create_collection(made)
        many = points(500)
        await store.upsert("shop", many)
        assert await rebuilt(store)
        questions = [VectorQuery(point.image, "image", 10, oversampling=4) for point in many[:20]]
        answers = await store.query("shop", questions)
        assert [hits[0].point.id for hits in answers] == [point.id for point in many[:20]]
