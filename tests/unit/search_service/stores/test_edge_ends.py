"""However a job of the Edge store ends, by a cancellation or a failure at any step: no process is left
that nobody ends, no folder that nobody uses, and the directory's lock is free after `close`.
"""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from clipsearch.serving.errors import NotFound, Unavailable
from search_service.stores.edge import files, indexing
from search_service.stores.edge.collection import EdgeCollection
from search_service.stores.edge.indexing import MaintenancePolicy
from search_service.stores.edge.process import Children, EngineProcess
from search_service.stores.edge.store import QdrantEdge
from tests.unit.search_service.stores.ends import (
    Gate,
    freeze_builders,
    hold,
    is_free,
    rebuilt,
    reopened_count,
    shards,
    threads_of,
)

pytestmark = pytest.mark.slow

STEPS = ["record", "_optimize", "open", "replay", "_take_over"]


@pytest.mark.parametrize("step", [*STEPS, "stop"])
async def test_a_close_during_a_build_leaves_no_process_and_one_shard(
    shop, tmp_path, monkeypatch, step, children
):
    gate = Gate()
    hold(monkeypatch, step, gate)
    live = shop._live["shop"]
    live.maintenance = building = asyncio.create_task(rebuilt(shop))
    await gate.reached.wait()
    closing = asyncio.create_task(shop.close())
    while not building.cancelling():  # noqa: ASYNC110
        await asyncio.sleep(0)
    gate.open.set()  # what a cancellation waits for goes on
    await closing

    assert building.cancelled()
    assert children() == set()
    assert len(shards(tmp_path)) == 1
    assert is_free(tmp_path)
    assert await reopened_count(tmp_path) == 10


@pytest.mark.parametrize("step", STEPS)
async def test_a_build_that_fails_at_any_step_leaves_the_old_engine_in_service(
    shop, tmp_path, points, monkeypatch, step, children
):
    with monkeypatch.context() as patched:
        hold(patched, step, Gate(RuntimeError("a fault")))
        with pytest.raises(RuntimeError, match="a fault"):
            await rebuilt(shop)

    assert shards(tmp_path) == ["shard.1"]
    assert len(children()) == 1
    await shop.upsert("shop", points(10, start=10))
    assert await rebuilt(shop)
    assert shards(tmp_path) == ["shard.2"]
    assert await shop.count("shop") == 20


async def test_a_close_ends_the_process_that_optimises(tmp_path, spec, points, monkeypatch, children):
    begun = freeze_builders(monkeypatch)
    store = await QdrantEdge.open(tmp_path, MaintenancePolicy(index_threshold=5, quiet_s=0))
    await store.create_collection(spec)
    await store.upsert("shop", points(10))
    await begun.get()
    await store.close()
    assert children() == set()
    assert shards(tmp_path) == ["shard.1"]
    assert await reopened_count(tmp_path) == 10


async def test_a_frozen_engine_of_before_is_gone_when_its_shard_is_removed(shop, tmp_path, monkeypatch):
    old = (await shop._live["shop"].engine())._process
    remove = indexing._remove
    ended = []

    def swap(collection, engine, shard, swap=EdgeCollection.swap):
        os.kill(old.pid, signal.SIGSTOP)  # it flushes for ever
        swap(collection, engine, shard)

    monkeypatch.setattr(EdgeCollection, "swap", swap)
    monkeypatch.setattr(indexing, "_remove", lambda *doomed: (ended.append(old.poll()), remove(*doomed)))
    assert await rebuilt(shop)

    assert ended == [-signal.SIGKILL]
    assert shards(tmp_path) == ["shard.2"]
    assert await shop.count("shop") == 10


async def test_what_the_engine_of_before_was_asked_is_answered(shop, monkeypatch):
    live = shop._live["shop"]
    old = await live.engine()
    asked = []

    def swap(collection, engine, shard, swap=EdgeCollection.swap):
        asked.extend(asyncio.create_task(old.call("count", None)) for _ in range(20))
        swap(collection, engine, shard)

    monkeypatch.setattr(EdgeCollection, "swap", swap)
    gate = Gate()
    hold(monkeypatch, "stop", gate)
    building = asyncio.create_task(rebuilt(shop))
    await gate.reached.wait()
    gate.open.set()
    await building
    assert await asyncio.gather(*asked) == [10] * 20


@pytest.mark.parametrize("step", ["kill", "open"])
async def test_an_engine_that_dies_during_the_change_does_not_bring_its_shard_back(
    shop, tmp_path, points, monkeypatch, children, step
):
    live = shop._live["shop"]
    old = await live.engine()
    take_over, remove = indexing._take_over, indexing._remove
    gate, asked, opened = Gate(), [], []

    async def dies_meanwhile(*arguments):
        old._process.kill()
        await asyncio.wait([old._answers])
        hold(monkeypatch, step, gate)
        asked.append(asyncio.create_task(shop.count("shop")))  # starts another, on the shard of before
        await gate.reached.wait()
        await take_over(*arguments)
        gate.open.set()

    monkeypatch.setattr(indexing, "_take_over", dies_meanwhile)
    monkeypatch.setattr(
        indexing, "_remove", lambda *doomed: (opened.append(live._starting.done()), remove(*doomed))
    )
    await rebuilt(shop)
    assert opened == [True], "an engine that still opens the shard makes its files again"
    assert await asked[0] == 10
    await shop.upsert("shop", points(10, start=10))
    await shop.close()
    assert children() == set()
    assert shards(tmp_path) == ["shard.2"]
    assert await reopened_count(tmp_path) == 20


async def test_an_engine_that_came_for_a_dead_one_before_the_change_is_ended(
    shop, tmp_path, monkeypatch, children
):
    old = await shop._live["shop"].engine()
    take_over = indexing._take_over

    async def dies_before(*arguments):
        old._process.kill()
        await asyncio.wait([old._answers])
        assert await shop.count("shop") == 10, "of another engine, on the shard of before"
        await take_over(*arguments)

    monkeypatch.setattr(indexing, "_take_over", dies_before)
    await rebuilt(shop)
    assert len(children()) == 1
    assert shards(tmp_path) == ["shard.2"]
    assert await shop.count("shop") == 10


async def test_a_name_that_the_disk_did_not_confirm_is_served_as_a_restart_would(
    shop, tmp_path, points, monkeypatch
):
    def unconfirmed(folder, shard, set_current_shard=files.set_current_shard):
        set_current_shard(folder, shard)
        raise OSError("the disk is ill")

    def still_ill(folder):
        raise OSError("the disk is ill")

    with monkeypatch.context() as patched:
        patched.setattr(indexing, "set_current_shard", unconfirmed)
        patched.setattr(indexing, "sync", still_ill)
        with pytest.raises(OSError, match="the disk is ill"):
            await rebuilt(shop)
    assert shards(tmp_path)[:2] == ["shard.1", "shard.2"], "a power cut may bring the old name back"
    await shop.upsert("shop", points(10, start=10))
    await shop.close()
    assert await reopened_count(tmp_path) == 20
    assert shards(tmp_path) == ["shard.2"]


async def test_a_close_that_is_given_up_ends_a_frozen_engine_at_once(shop, tmp_path, children):
    engine = await shop._live["shop"].engine()
    os.kill(engine._process.pid, signal.SIGSTOP)
    closing = asyncio.create_task(shop.close())
    while not engine._waiting:  # noqa: ASYNC110
        await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert children() == set()
    assert is_free(tmp_path)
    assert await reopened_count(tmp_path) == 10


async def test_one_collection_that_cannot_be_closed_keeps_nothing_else_from_it(
    shop, tmp_path, monkeypatch, children
):
    async def fail(engine, *, flush):
        raise RuntimeError("a fault")

    with monkeypatch.context() as patched:
        patched.setattr(EngineProcess, "stop", fail)
        with pytest.raises(RuntimeError, match="a fault"):
            await shop.close()
    assert children() == set()
    assert is_free(tmp_path)


async def test_an_engine_that_has_nothing_to_do_has_one_thread(tmp_path):
    """One a core, which OpenBLAS would start for nothing, is a third of what its start takes."""
    with (tmp_path / "lock").open("w") as lock:
        engine = await EngineProcess.start(Children(lock.fileno()))
        await engine.call("ping")
        threads = threads_of(engine._process.pid)
        await engine.kill()
    assert threads == 1


async def test_no_engine_is_started_once_the_store_is_closed(shop, spec, children):
    await shop.close()
    with pytest.raises(Unavailable, match="the store is closed"):
        await shop.create_collection(spec)
    assert children() == set()


async def test_an_engine_whose_start_is_given_up_is_ended(tmp_path, monkeypatch, children):
    gate = Gate()

    async def connect(sock):
        await gate()

    monkeypatch.setattr(asyncio, "open_unix_connection", connect)
    with (tmp_path / "lock").open("w") as lock:
        starting = asyncio.create_task(EngineProcess.start(Children(lock.fileno())))
        await gate.reached.wait()
        assert len(children()) == 1
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
    assert children() == set()


async def closed_while_its_engine_starts(shop, monkeypatch):
    """A store that is being closed, a call that waits for an engine to start, and the gate before that."""
    live = shop._live["shop"]
    await (await live.engine()).kill()
    gate = Gate()
    hold(monkeypatch, "open", gate)
    counting = asyncio.create_task(shop.count("shop"))
    await gate.reached.wait()
    closing = asyncio.create_task(shop.close())
    while not live.closed:  # noqa: ASYNC110
        await asyncio.sleep(0)
    return closing, counting, gate


async def test_callers_of_an_engine_whose_start_ends_with_the_store_are_told_so(shop, monkeypatch, children):
    closing, counting, gate = await closed_while_its_engine_starts(shop, monkeypatch)
    closing.cancel()
    await asyncio.wait([closing])
    gate.open.set()  # to an engine that is gone
    with pytest.raises(NotFound):
        await counting
    assert children() == set()


async def test_a_close_waits_for_an_engine_that_starts_and_its_callers_are_answered(shop, monkeypatch):
    closing, counting, gate = await closed_while_its_engine_starts(shop, monkeypatch)
    gate.open.set()
    assert await counting == 10
    await closing
