from __future__ import annotations

import asyncio
import errno
import math
import os
import signal
import threading
import time
from contextlib import suppress
from dataclasses import replace
from unittest.mock import AsyncMock

import numpy as np
import pytest
from structlog.testing import capture_logs

from clipsearch.serving.current_call import begin_call, current_call
from clipsearch.serving.deadline import deadline, deadline_at
from clipsearch.serving.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    Unavailable,
)
from clipsearch.serving.security.tokens import Tenant
from search_service import breaker
from search_service.__main__ import _open_store
from search_service.deadline import store_within
from search_service.settings import SearchSettings
from search_service.stores.collection import CollectionSpec
from search_service.stores.edge import collection as edge_collection
from search_service.stores.edge import process as edge_process
from search_service.stores.edge.collection import EdgeCollection
from search_service.stores.edge.indexing import Maintenance, MaintenancePolicy
from search_service.stores.edge.process import EngineProcess
from search_service.stores.edge.store import QdrantEdge
from search_service.stores.filters import Filter, MatchValue
from search_service.stores.protocol import NO_PAYLOAD, VectorQuery
from search_service.stores.tenant import TenantStore
from tests.waiting import HANGS_S, at_once, settled, until


async def test_everything_is_there_after_a_restart(tmp_path, spec, points):
    data = tmp_path / "data"
    store = await QdrantEdge.open(data)
    made = CollectionSpec(
        "shop", 16, "f" * 32, "toy", {"n": "integer"}, hnsw_m=8, quantization="scalar", on_disk_vectors=True
    )
    await store.create_collection(made)
    await store.create_payload_index("shop", "brand", "keyword")
    await store.set_alias("window", "shop")
    await store.create_collection(CollectionSpec("next", 16, "f"))
    await store.set_successor("shop", "next")
    await store.upsert("shop", points(10, brand="acme"))
    await store.close()

    store = await QdrantEdge.open(data)
    found = await store.resolve("window")
    assert found.payload_indexes == {"n": "integer", "brand": "keyword"}
    assert (found.hnsw_m, found.quantization, found.on_disk_vectors) == (8, "scalar", True)
    assert found.successor == "next"
    info = await store.get_collection("shop")
    assert (info.points, info.image_vectors, info.text_vectors, info.aliases) == (10, 10, 5, ("window",))
    assert info.disk_bytes > 0
    assert await store.count("shop", Filter(must=(MatchValue("brand", "acme"),))) == 10
    (point,) = await store.get("shop", ["p3"], with_vectors=True)
    assert point.payload == {"n": 3, "brand": "acme"}
    assert point.image == pytest.approx(points(10)[3].image, abs=1e-6)
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


@pytest.fixture
def patient(monkeypatch):
    """A probe and an engine that are held up, by a busy machine, are not taken for stuck."""
    monkeypatch.setattr(breaker, "_ANSWER_S", 3600)
    monkeypatch.setattr(edge_process, "_DISK_S", 3600)


async def is_back(live: EdgeCollection) -> None:
    """Pings until that is answered."""
    async with asyncio.timeout(HANGS_S):
        while True:
            with suppress(Unavailable):
                return await live.ping()


async def test_a_stuck_engine_fails_its_own_callers_fast_and_is_back_by_itself(store, spec, points, patient):
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
    told = {info.spec.name: info.damage for info in await store.list_collections()}
    assert "does not answer" in told.pop("shop")
    assert told == {"other": ""}
    os.kill(other._process.pid, signal.SIGSTOP)
    with pytest.raises(Unavailable):
        await store.ping()
    for engine in (stuck, other):
        os.kill(engine._process.pid, signal.SIGCONT)
    await is_back(store._live["shop"])
    assert await store.count("shop") == 5


@pytest.mark.parametrize(
    ("how", "told"), [("fails", "the store's disk cannot be read"), ("hangs", "did not answer in time")]
)
async def test_files_that_cannot_be_measured_hurt_no_other_collection(store, spec, monkeypatch, how, told):
    await store.create_collection(spec)
    await store.create_collection(CollectionSpec("other", 16, "f"))
    measure, go_on = edge_collection.disk_bytes, threading.Event()

    def ill(folder):
        if folder.name != "shop":
            return measure(folder)
        if how == "hangs":
            go_on.wait()
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(edge_collection, "disk_bytes", ill)
    monkeypatch.setattr(edge_collection, "_SIZE_S", 0.05 if how == "hangs" else 5.0)
    shown = {info.spec.name: info for info in await store.list_collections()}
    go_on.set()
    assert told in shown["shop"].damage
    assert (shown["other"].damage, shown["other"].disk_bytes > 0) == ("", True)


@pytest.mark.parametrize("how", ["computes", "waits for the disk"])
async def test_an_engine_at_work_for_long_is_not_stuck(store, spec, monkeypatch, patient, how):
    await store.create_collection(spec)
    engine = await store._live["shop"].engine()
    ticks = iter(range(100))
    monkeypatch.setattr(
        edge_process, "_at_work", lambda pid: (False, next(ticks)) if how == "computes" else (True, 0)
    )
    os.kill(engine._process.pid, signal.SIGSTOP)
    await store.ping()
    if how == "waits for the disk":  # but not for ever
        monkeypatch.setattr(edge_process, "_DISK_S", 0)
        with pytest.raises(Unavailable):
            await store.ping()
    os.kill(engine._process.pid, signal.SIGCONT)
    await is_back(store._live["shop"])
    assert await store.count("shop") == 0


async def test_the_batches_of_a_write_are_done_in_their_order(store, spec, points):
    await store.create_collection(spec)
    await store.upsert("shop", [*points(100), *points(100, again=True)])

    assert await store.count("shop") == 100
    assert await store.count("shop", Filter(must=(MatchValue("again", True),))) == 100


async def test_a_slow_engine_meets_the_deadline_and_what_waited_does_not_reach_it(store, spec, points):
    await store.create_collection(spec)
    engine = await store._live["shop"].engine()
    os.kill(engine._process.pid, signal.SIGSTOP)
    with pytest.raises(DeadlineExceeded), deadline_at(time.monotonic() + 0.05):
        await store.count("shop")
    ahead = [asyncio.create_task(store.count("shop")) for _ in range(4)]
    await until(lambda: len(engine._waiting) == 4)
    with pytest.raises(DeadlineExceeded), deadline_at(time.monotonic() + 0.05):
        await store.upsert("shop", points(5))
    os.kill(engine._process.pid, signal.SIGCONT)
    assert await asyncio.gather(*ahead, store.count("shop")) == [0] * 5


async def test_a_slow_engine_is_given_up_where_nobody_has_a_deadline_too(tmp_path, spec, points):
    settings = SearchSettings(data_dir=tmp_path / "data", store_timeout_s=0.05)
    store = await _open_store(settings)
    await store.create_collection(spec)
    engine = await store._live["shop"].engine()
    os.kill(engine._process.pid, signal.SIGSTOP)
    for call in (store.count("shop"), store.get_collection("shop"), store.upsert("shop", points(5))):
        with pytest.raises(DeadlineExceeded):
            await call
    os.kill(engine._process.pid, signal.SIGCONT)
    await store.close()


async def test_what_outlives_a_call_knows_neither_the_call_nor_its_deadline(store, spec, points, monkeypatch):
    known = {}

    def noting(owner: type, name: str) -> None:
        work = getattr(owner, name)

        async def noted(*arguments: object) -> object:
            known[name] = current_call(), deadline()
            return await work(*arguments)

        monkeypatch.setattr(owner, name, noted)

    noting(EdgeCollection, "_start")
    noting(EdgeCollection, "_next_log_flush")
    noting(EngineProcess, "_read_answers")
    noting(Maintenance, "run")

    async def call() -> None:
        begin_call("/a/call", (), None)
        with deadline_at(time.monotonic() + 60):
            await store.create_collection(spec)
            await store.upsert("shop", points(3))

    await asyncio.create_task(call())
    await settled()
    names = ("_start", "_next_log_flush", "_read_answers", "run")
    assert known == dict.fromkeys(names, (None, math.inf))


@pytest.mark.parametrize("whose", ["all points", "a tenant's"])
async def test_a_caller_whose_time_is_over_is_told_of_no_damage(store, spec, monkeypatch, whose):
    await store.create_collection(spec)
    there, asked, stuck = await store.list_collections(), store, "get_collection"
    if whose == "a tenant's":
        asked, stuck = TenantStore(store, Tenant(field="shop", value="acme")), "count"
        monkeypatch.setattr(store, "list_collections", AsyncMock(return_value=there))

    async def waits(*_: object) -> None:
        async with store_within():
            await asyncio.sleep(3600)

    monkeypatch.setattr(store, stuck, waits)
    with pytest.raises(DeadlineExceeded), deadline_at(time.monotonic() + 0.05):
        await asked.list_collections()


async def test_what_nobody_waits_for_any_more_does_not_reach_the_engine(store, spec, points):
    await store.create_collection(spec)
    await store.upsert("shop", points(5))
    engine = await store._live["shop"].engine()
    os.kill(engine._process.pid, signal.SIGSTOP)
    calls = [asyncio.create_task(store.count("shop")) for _ in range(50)]
    await until(lambda: len(engine._waiting) + len(engine._queued) == 50)
    for call in calls[:-1]:
        call.cancel()
    os.kill(engine._process.pid, signal.SIGCONT)
    assert await calls[-1] == 5
    assert not engine._queued


async def test_a_close_answers_what_was_asked(store, spec, points):
    await store.create_collection(spec)
    await store.upsert("shop", points(5))
    calls = [asyncio.create_task(store.count("shop")) for _ in range(50)]
    await asyncio.sleep(0)
    await store.close()
    assert await asyncio.gather(*calls) == [5] * 50


async def test_a_collection_that_was_never_asked_is_closed_without_a_warning(store, spec):
    await store.create_collection(spec)
    with capture_logs() as logs:
        await store.close()
    assert logs == []


async def test_writes_stop_before_the_disk_is_full(tmp_path, spec, points):
    store = await QdrantEdge.open(tmp_path, MaintenancePolicy(min_free_bytes=1 << 60))
    await store.create_collection(spec)
    with pytest.raises(ResourceExhausted) as full:
        await store.upsert("shop", points(1))
    assert full.value.reason == "STORE_DISK_FULL"
    assert await store.count("shop") == 0
    await store.close()


async def test_an_answer_of_more_bytes_than_are_sent_is_refused(store, spec, points):
    await store.create_collection(spec)
    await store.upsert("shop", points(100, text="x" * 60_000))
    question = VectorQuery(np.eye(16, dtype=np.float32)[0], "image", limit=1000)
    few = await store.query("shop", [question] * 10)
    assert [len(found) for found in few] == [100] * 10
    with pytest.raises(InvalidArgument, match="take more than 256 MiB; ask for fewer") as caught:
        await store.query("shop", [question] * 64)
    assert caught.value.reason == "STORE_REFUSED"
    assert caught.value.metadata["limit"] == str(256 << 20)
    unburdened = await store.query("shop", [replace(question, payload=NO_PAYLOAD)] * 64)
    assert [len(found) for found in unburdened] == [100] * 64
