from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from clipsearch.serving.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from search_service.query.filters import Filter, HasId, MatchValue
from search_service.stores.edge import process as edge_process
from search_service.stores.edge.live import Upkeep
from search_service.stores.edge.store import QdrantEdge, StoreInUseError
from search_service.stores.protocol import CollectionSpec, VectorQuery
from tests.waiting import at_once, until

OPEN_AND_WAIT = """
import asyncio, sys
from pathlib import Path
from search_service.stores.edge.store import QdrantEdge

async def main():
    store = await QdrantEdge.open(Path(sys.argv[1]))
    print("open", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""

# Upserts batch after batch and says, after each acknowledgement, how many points are in.
WRITE_FOR_EVER = """
import asyncio, sys
from pathlib import Path
import numpy as np
from search_service.stores.edge.store import QdrantEdge
from search_service.stores.protocol import CollectionSpec, StoredPoint

async def main():
    store = await QdrantEdge.open(Path(sys.argv[1]))
    if sys.argv[2] == "0":
        await store.create_collection(CollectionSpec("shop", 16, "f"))
    vector = np.full(16, 0.25, np.float32)
    done = int(sys.argv[2])
    while True:
        batch = [StoredPoint(f"p{done + n}", {"n": done + n}, image=vector) for n in range(20)]
        await store.upsert("shop", batch)
        done += 20
        print(done, flush=True)

asyncio.run(main())
"""


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


async def test_everything_is_there_after_a_restart(tmp_path, spec, points):
    data = tmp_path / "data"
    store = await QdrantEdge.open(data)
    made = CollectionSpec(
        "shop", 16, "f" * 32, "toy", {"n": "integer"}, hnsw_m=8, quantization="scalar", on_disk_vectors=True
    )
    await store.create_collection(made)
    await store.create_payload_index("shop", "brand", "keyword")
    await store.set_alias("window", "shop")
    await store.upsert("shop", points(10, brand="acme"))
    await store.close()

    store = await QdrantEdge.open(data)
    found = await store.resolve("window")
    assert found.payload_indexes == {"n": "integer", "brand": "keyword"}
    assert (found.hnsw_m, found.quantization, found.on_disk_vectors) == (8, "scalar", True)
    info = await store.get_collection("shop")
    assert (info.points, info.image_vectors, info.text_vectors, info.aliases) == (10, 10, 5, ("window",))
    assert info.disk_bytes > 0
    assert await store.count("shop", Filter(must=(MatchValue("brand", "acme"),))) == 10
    (point,) = await store.get("shop", ["p3"], with_vectors=True)
    assert point.payload == {"n": 3, "brand": "acme"}
    assert point.image == pytest.approx(points(10)[3].image, abs=1e-6)
    await store.close()


async def test_a_directory_in_use_is_refused_by_name(tmp_path):
    holder = start(OPEN_AND_WAIT, tmp_path)
    try:
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(StoreInUseError, match=str(tmp_path)):
            await QdrantEdge.open(tmp_path)
    finally:
        holder.kill()
        holder.communicate()
    await (await QdrantEdge.open(tmp_path)).close()


async def test_no_acknowledged_point_is_lost_when_the_service_is_killed(tmp_path):
    acknowledged = 0
    for more in (0, 5, 40):
        writer = start(WRITE_FOR_EVER, tmp_path, acknowledged)
        first = int(writer.stdout.readline())
        for _ in range(more):
            first = int(writer.stdout.readline())
        writer.kill()
        rest = writer.communicate()[0].split()
        acknowledged = int(rest[-1]) if rest else first

        store = await QdrantEdge.open(tmp_path)
        ids = [f"p{n}" for n in range(acknowledged)]
        assert await store.count("shop", Filter(must=(HasId(tuple(ids)),))) == acknowledged
        assert await store.count("shop") in (acknowledged, acknowledged + 20)
        assert (await store.get("shop", ids[-1:]))[0].payload == {"n": acknowledged - 1}
        await store.close()


async def test_a_creation_cut_short_leaves_nothing(tmp_path, spec, store, points):
    await store.create_collection(spec)
    await store.close()
    half = tmp_path / "data" / "collections" / ".other.new" / "shard.1"
    half.mkdir(parents=True)
    (half / "file").write_text("half")
    again = await QdrantEdge.open(tmp_path / "data")
    assert [info.spec.name for info in await again.list_collections()] == ["shop"]
    assert not half.exists()
    await again.create_collection(CollectionSpec("other", 16, "f"))
    await again.close()


async def test_a_creation_that_fails_leaves_nothing(store, points):
    with pytest.raises(Exception, match="create"):
        await store.create_collection(CollectionSpec("shop", 0, "f"))
    assert await store.list_collections() == []
    await store.create_collection(CollectionSpec("shop", 16, "f"))
    await store.upsert("shop", points(1))


async def test_two_creations_of_one_name_make_one(store, spec):
    results = await asyncio.gather(*(store.create_collection(spec) for _ in range(2)), return_exceptions=True)
    assert sorted(map(type, results), key=str) == sorted([type(None), AlreadyExists], key=str)


async def test_of_two_indexes_on_one_field_at_once_one_is_made(store, spec):
    await store.create_collection(spec)
    results = await asyncio.gather(
        store.create_payload_index("shop", "n", "integer"),
        store.create_payload_index("shop", "n", "keyword"),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [type(None), FailedPrecondition]
    assert (await store.resolve("shop")).payload_indexes == {"n": "integer"}


async def test_an_engine_that_dies_is_started_again(store, spec, points):
    await store.create_collection(spec)
    await store.upsert("shop", points(5))
    engine = await store._live["shop"].engine()
    waiting = asyncio.create_task(store.count("shop"))
    await asyncio.sleep(0)
    os.kill(engine._process.pid, signal.SIGKILL)
    await asyncio.gather(waiting, return_exceptions=True)
    await until(lambda: not engine.alive)
    assert await store.count("shop") == 5


async def test_calls_to_a_dying_engine_are_asked_again_but_for_deletes(store, spec, points):
    await store.create_collection(spec)
    await store.upsert("shop", points(5))
    engine = await store._live["shop"].engine()
    os.kill(engine._process.pid, signal.SIGSTOP)
    calls = [store.count("shop"), store.upsert("shop", points(5)), store.delete("shop", ["p0"])]
    waiting = [asyncio.create_task(call) for call in calls]
    await until(lambda: len(engine._waiting) == 2)
    # The delete waits behind the upsert: it has not reached the engine, so that it is not lost either.
    os.kill(engine._process.pid, signal.SIGKILL)
    assert await asyncio.gather(*waiting) == [5, frozenset(), 1]

    engine = await store._live["shop"].engine()
    os.kill(engine._process.pid, signal.SIGSTOP)
    deletion = asyncio.create_task(store.delete("shop", ["p1"]))
    await until(lambda: len(engine._waiting) == 1)
    os.kill(engine._process.pid, signal.SIGKILL)
    with pytest.raises(Unavailable) as gone:
        await deletion
    assert gone.value.metadata == {"dependency": "store"}
    assert await store.count("shop") in (3, 4)


async def test_a_stuck_engine_fails_its_own_callers_fast_and_is_back_by_itself(store, spec, points):
    await store.create_collection(spec)
    await store.create_collection(CollectionSpec("other", 16, "f"))
    await store.upsert("shop", points(5))
    stuck, other = [await store._live[name].engine() for name in ("shop", "other")]
    os.kill(stuck._process.pid, signal.SIGSTOP)
    waiting = asyncio.create_task(store.count("shop"))
    await store.ping()  # one of two is of use
    with pytest.raises(Unavailable, match="the engine of collection 'shop' does not answer"):
        await waiting
    for call in (store.count("shop"), store.upsert("shop", points(1))):
        with pytest.raises(Unavailable):
            at_once(call)
    assert await store.count("other") == 0
    os.kill(other._process.pid, signal.SIGSTOP)
    with pytest.raises(Unavailable):
        await store.ping()
    for engine in (stuck, other):
        os.kill(engine._process.pid, signal.SIGCONT)
    await store.ping()
    assert await store.count("shop") == 5


@pytest.mark.parametrize("how", ["computes", "waits for the disk"])
async def test_an_engine_at_work_for_long_is_not_stuck(store, spec, monkeypatch, how):
    await store.create_collection(spec)
    engine = await store._live["shop"].engine()
    ticks = iter(range(100))
    monkeypatch.setattr(
        edge_process, "_at_work", lambda pid: (False, next(ticks)) if how == "computes" else (True, 0)
    )
    os.kill(engine._process.pid, signal.SIGSTOP)
    await store.ping()
    if how == "waits for the disk":  # but not for ever
        monkeypatch.setattr(edge_process, "_DISK_S", 1.0)
        with pytest.raises(Unavailable):
            await store.ping()
    os.kill(engine._process.pid, signal.SIGCONT)
    await store.ping()
    assert await store.count("shop") == 0


async def test_the_parts_of_a_write_are_done_in_their_order(store, spec, points):
    await store.create_collection(spec)
    await store.upsert("shop", [*points(100), *points(100, again=True)])

    assert await store.count("shop") == 100
    assert await store.count("shop", Filter(must=(MatchValue("again", True),))) == 100


async def test_a_slow_engine_meets_the_deadline_and_what_waited_is_not_begun(store, spec, points):
    await store.create_collection(spec)
    engine = await store._live["shop"].engine()
    os.kill(engine._process.pid, signal.SIGSTOP)
    with pytest.raises(DeadlineExceeded):
        await store.count("shop", timeout=0.05)
    with pytest.raises(DeadlineExceeded):
        await store.upsert("shop", points(5), timeout=0.05)
    os.kill(engine._process.pid, signal.SIGCONT)
    assert await store.count("shop") == 0


async def test_what_nobody_waits_for_any_more_does_not_reach_the_engine(store, spec, points):
    await store.create_collection(spec)
    await store.upsert("shop", points(5))
    engine = await store._live["shop"].engine()
    os.kill(engine._process.pid, signal.SIGSTOP)
    before = engine._answered
    calls = [asyncio.create_task(store.count("shop")) for _ in range(50)]
    await until(lambda: len(engine._waiting) + len(engine._queued) == 50)
    for call in calls[:-1]:
        call.cancel()
    os.kill(engine._process.pid, signal.SIGCONT)
    assert await calls[-1] == 5
    assert engine._answered - before <= 5


async def test_a_close_answers_what_was_asked(store, spec, points):
    await store.create_collection(spec)
    await store.upsert("shop", points(5))
    calls = [asyncio.create_task(store.count("shop")) for _ in range(50)]
    await asyncio.sleep(0)
    await store.close()
    assert await asyncio.gather(*calls) == [5] * 50


async def test_writes_stop_before_the_disk_is_full(tmp_path, spec, points):
    store = await QdrantEdge.open(tmp_path, Upkeep(min_free_bytes=1 << 60))
    await store.create_collection(spec)
    with pytest.raises(ResourceExhausted) as full:
        await store.upsert("shop", points(1))
    assert full.value.reason == "STORE_DISK_FULL"
    assert await store.count("shop") == 0
    await store.close()


async def test_a_deleted_collection_ends_its_process_and_leaves_no_files(tmp_path, store, spec, points):
    await store.create_collection(spec)
    await store.upsert("shop", points(3))
    process = (await store._live["shop"].engine())._process
    await store.delete_collection("shop")
    assert process.poll() is not None
    assert list((tmp_path / "data" / "collections").iterdir()) == []
    with pytest.raises(NotFound):
        await store.count("shop")


async def test_searches_are_answered_while_writes_go_on(store, spec, points):
    await store.create_collection(spec)
    await store.upsert("shop", points(200))
    question = VectorQuery(points(1)[0].image, "image", 5)
    writes = [store.upsert("shop", points(50, start=1000 * n)) for n in range(1, 11)]
    searches = [store.query("shop", [question]) for _ in range(30)]
    *_, last = await asyncio.gather(*writes, *searches)
    assert len(last[0]) == 5
    assert await store.count("shop") == 700
