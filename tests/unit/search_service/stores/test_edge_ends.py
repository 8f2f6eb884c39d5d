"""However a job of the Edge store ends, by a cancellation or a failure at any step: no process is left
that nobody ends, no folder that nobody uses, and the directory's lock is free after `close`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from clipsearch.serving.errors import NotFound, Unavailable
from search_service.stores import edge, edge_files, edge_index
from search_service.stores.edge import QdrantEdge
from search_service.stores.edge_children import Children, whole
from search_service.stores.edge_live import LiveCollection, Upkeep
from search_service.stores.edge_process import EngineProcess

QUIET = Upkeep(quiet_s=600)
SHOP = Path("collections", "shop")


@pytest.fixture
def children() -> Callable[[], set[int]]:
    """The processes that a test's store has, alive or not waited for."""
    before = processes()
    return lambda: processes() - before


def processes() -> set[int]:
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            command = stat.with_name("cmdline").read_bytes()
        except OSError:  # it has ended meanwhile
            continue
        if int(parent) == os.getpid() and (state == "Z" or b"search_service.stores." in command):
            found.add(int(stat.parent.name))
    return found


def shards(root: Path) -> list[str]:
    return sorted(path.name for path in (root / SHOP).glob("shard.*"))


def is_free(root: Path) -> bool:
    edge_files.open_root(root, patience_s=0).close()
    return True


class Gate:
    """Takes the place of a step: says when it is `reached`, and then fails or waits until it is `open`."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.reached, self.open = asyncio.Event(), asyncio.Event()
        self._failure = failure

    async def __call__(self) -> None:
        self.reached.set()
        if self._failure is not None:
            raise self._failure
        await self.open.wait()


def hold(monkeypatch: pytest.MonkeyPatch, step: str, gate: Gate) -> None:
    """Puts the gate before a step: what an engine is asked, is done to, or what edge_index does."""
    call = EngineProcess.call

    async def gated_call(engine, method, *arguments, deadline=None):
        if method == step:
            await gate()
        return await call(engine, method, *arguments, deadline=deadline)

    async def gated(*arguments):
        await gate()
        return await original(*arguments)

    owner = edge_index if step.startswith("_") else EngineProcess
    if hasattr(owner, step):
        original = getattr(owner, step)
        monkeypatch.setattr(owner, step, gated)
    else:
        monkeypatch.setattr(EngineProcess, "call", gated_call)


async def no_optimizer(shard, shared):
    """An index in no time: these tests are about what stands around it."""
    return True


@pytest.fixture
async def shop(tmp_path, spec, points, monkeypatch, children):
    """A store with ten points, whose index is built when a test says so."""
    monkeypatch.setattr(edge_index, "_optimize", no_optimizer)
    store = await QdrantEdge.open(tmp_path, QUIET)
    await store.create_collection(spec)
    await store.upsert("shop", points(10))
    yield store
    await store.close()
    assert children() == set()


async def reopened_count(root: Path) -> int:
    store = await QdrantEdge.open(root, QUIET)
    try:
        return await store.count("shop")
    finally:
        await store.close()


STEPS = ["record", "_optimize", "open", "replay", "_take_over"]


@pytest.mark.parametrize("step", [*STEPS, "retire"])
async def test_a_close_during_a_build_leaves_no_process_and_one_shard(
    shop, tmp_path, monkeypatch, step, children
):
    gate = Gate()
    hold(monkeypatch, step, gate)
    live = shop._live["shop"]
    live._upkeeping = building = asyncio.create_task(edge_index.rebuild(live))
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
            await edge_index.rebuild(shop._live["shop"])

    assert shards(tmp_path) == ["shard.1"]
    assert len(children()) == 1
    await shop.upsert("shop", points(10, start=10))
    assert await edge_index.rebuild(shop._live["shop"])
    assert shards(tmp_path) == ["shard.2"]
    assert await shop.count("shop") == 20


async def test_a_close_ends_the_process_that_optimises(tmp_path, spec, points, monkeypatch, children):
    started = Children.start
    begun = asyncio.Event()

    def start(self, module, *arguments, **more):
        process = started(self, module, *arguments, **more)
        if module.endswith("edge_index"):
            process.send_signal(signal.SIGSTOP)
            begun.set()
        return process

    monkeypatch.setattr(Children, "start", start)
    store = await QdrantEdge.open(tmp_path, Upkeep(index_threshold=5, quiet_s=0))
    await store.create_collection(spec)
    await store.upsert("shop", points(10))
    await begun.wait()
    await store.close()
    assert children() == set()
    assert shards(tmp_path) == ["shard.1"]
    assert await reopened_count(tmp_path) == 10


async def test_a_frozen_engine_of_before_is_gone_when_its_shard_is_removed(shop, tmp_path, monkeypatch):
    old = (await shop._live["shop"].engine())._process
    remove = edge_index._remove
    ended = []

    def swap(live, engine, shard, swap=LiveCollection.swap):
        os.kill(old.pid, signal.SIGSTOP)  # it flushes for ever
        swap(live, engine, shard)

    monkeypatch.setattr(LiveCollection, "swap", swap)
    monkeypatch.setattr(edge_index, "_remove", lambda *doomed: (ended.append(old.poll()), remove(*doomed)))
    assert await edge_index.rebuild(shop._live["shop"])

    assert ended == [-signal.SIGKILL]
    assert shards(tmp_path) == ["shard.2"]
    assert await shop.count("shop") == 10


async def test_what_the_engine_of_before_was_asked_is_answered(shop, monkeypatch):
    live = shop._live["shop"]
    old = await live.engine()
    asked = []

    def swap(live, engine, shard, swap=LiveCollection.swap):
        asked.extend(asyncio.create_task(old.call("count", None)) for _ in range(20))
        swap(live, engine, shard)

    monkeypatch.setattr(LiveCollection, "swap", swap)
    gate = Gate()
    hold(monkeypatch, "retire", gate)
    building = asyncio.create_task(edge_index.rebuild(live))
    await gate.reached.wait()
    gate.open.set()
    await building
    assert await asyncio.gather(*asked) == [10] * 20


@pytest.mark.parametrize("step", ["stop", "open"])
async def test_an_engine_that_dies_during_the_change_does_not_bring_its_shard_back(
    shop, tmp_path, points, monkeypatch, children, step
):
    live = shop._live["shop"]
    old = await live.engine()
    take_over = edge_index._take_over
    gate, asked = Gate(), []

    async def dies_meanwhile(*arguments):
        old._process.kill()
        await asyncio.wait([old._answers])
        hold(monkeypatch, step, gate)
        asked.append(asyncio.create_task(shop.count("shop")))  # starts another, on the shard of before
        await gate.reached.wait()
        await take_over(*arguments)

    monkeypatch.setattr(edge_index, "_take_over", dies_meanwhile)
    await edge_index.rebuild(live)
    gate.open.set()
    assert await asked[0] == 10
    await shop.upsert("shop", points(10, start=10))
    await shop.close()
    assert children() == set()
    assert shards(tmp_path) == ["shard.2"]
    assert await reopened_count(tmp_path) == 20


async def test_a_name_that_the_disk_did_not_confirm_is_served_as_a_restart_would(
    shop, tmp_path, points, monkeypatch
):
    def unconfirmed(folder, shard, set_current_shard=edge_files.set_current_shard):
        set_current_shard(folder, shard)
        raise OSError("the disk is ill")

    def still_ill(folder):
        raise OSError("the disk is ill")

    with monkeypatch.context() as patched:
        patched.setattr(edge_index, "set_current_shard", unconfirmed)
        patched.setattr(edge_index, "sync_folder", still_ill)
        with pytest.raises(OSError, match="the disk is ill"):
            await edge_index.rebuild(shop._live["shop"])
    assert shards(tmp_path)[:2] == ["shard.1", "shard.2"], "a power cut may bring the old name back"
    await shop.upsert("shop", points(10, start=10))
    await shop.close()
    assert await reopened_count(tmp_path) == 20
    assert shards(tmp_path) == ["shard.2"]


async def test_a_close_that_is_given_up_ends_a_frozen_engine_at_once(shop, tmp_path, children):
    engine = await shop._live["shop"].engine()
    os.kill(engine._process.pid, signal.SIGSTOP)
    closing = asyncio.create_task(shop.close())
    while not engine._writer.transport.is_closing() and not engine._writer.transport._eof:  # noqa: ASYNC110
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
    async def fail(engine):
        raise RuntimeError("a fault")

    with monkeypatch.context() as patched:
        patched.setattr(EngineProcess, "stop", fail)
        with pytest.raises(RuntimeError, match="a fault"):
            await shop.close()
    assert children() == set()
    assert is_free(tmp_path)


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


async def test_callers_of_an_engine_whose_start_ends_with_the_store_are_told_so(shop, monkeypatch, children):
    live = shop._live["shop"]
    await (await live.engine()).kill()
    gate = Gate()
    hold(monkeypatch, "open", gate)
    counting = asyncio.create_task(shop.count("shop"))
    await gate.reached.wait()
    closing = asyncio.create_task(shop.close())
    while not live.closed:  # noqa: ASYNC110
        await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(NotFound):
        await counting
    await asyncio.wait([closing])
    assert children() == set()


async def test_a_close_waits_for_an_engine_that_starts_and_its_callers_are_answered(shop, monkeypatch):
    live = shop._live["shop"]
    await (await live.engine()).kill()
    gate = Gate()
    hold(monkeypatch, "open", gate)
    counting = asyncio.create_task(shop.count("shop"))
    await gate.reached.wait()
    closing = asyncio.create_task(shop.close())
    while not live.closed:  # noqa: ASYNC110
        await asyncio.sleep(0)
    gate.open.set()
    assert await counting == 10
    await closing


async def test_a_creation_that_is_given_up_leaves_nothing(tmp_path, spec, monkeypatch, children):
    store = await QdrantEdge.open(tmp_path, QUIET)
    with monkeypatch.context() as patched:
        gate = Gate()
        hold(patched, "create", gate)
        creating = asyncio.create_task(store.create_collection(spec))
        await gate.reached.wait()
        creating.cancel()
        await asyncio.wait([creating])
    assert children() == set()
    assert list((tmp_path / "collections").iterdir()) == []
    await store.create_collection(spec)
    await store.close()


async def test_a_creation_that_is_given_up_at_its_last_step_is_done(tmp_path, spec, points, monkeypatch):
    store = await QdrantEdge.open(tmp_path, QUIET)
    reached, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(building, folder):
        loop.call_soon_threadsafe(reached.set)
        go_on.wait(60)
        edge_files.publish(building, folder)

    monkeypatch.setattr(edge, "publish", slow)
    creating = asyncio.create_task(store.create_collection(spec))
    await reached.wait()
    creating.cancel()
    go_on.set()
    await asyncio.wait([creating])
    await store.upsert("shop", points(1))
    await store.close()
    assert await reopened_count(tmp_path) == 1


async def test_a_creation_whose_folder_is_not_durable_can_be_made_again(tmp_path, spec, points, monkeypatch):
    store = await QdrantEdge.open(tmp_path, QUIET)
    sync = edge_files._sync

    def ill(path):
        if path == tmp_path / "collections":
            raise OSError("the disk is ill")
        sync(path)

    with monkeypatch.context() as patched:
        patched.setattr(edge_files, "_sync", ill)
        with pytest.raises(Unavailable):
            await store.create_collection(spec)
    assert list((tmp_path / "collections").iterdir()) == []
    await store.create_collection(spec)
    await store.upsert("shop", points(1))
    await store.close()


async def test_a_deletion_that_is_given_up_is_done(shop, tmp_path, spec, monkeypatch, children):
    gate = Gate()
    hold(monkeypatch, "stop", gate)
    deleting = asyncio.create_task(shop.delete_collection("shop"))
    await gate.reached.wait()
    deleting.cancel()
    gate.open.set()
    await asyncio.wait([deleting])
    assert children() == set()
    assert list((tmp_path / "collections").iterdir()) == []
    await shop.create_collection(spec)


async def test_a_collection_whose_folder_cannot_be_removed_is_still_there(shop, tmp_path, monkeypatch):
    def refuse(path, target):
        raise PermissionError("no")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", refuse)
        with pytest.raises(Unavailable):
            await shop.delete_collection("shop")
    assert await shop.count("shop") == 10
    await shop.delete_collection("shop")
    assert list((tmp_path / "collections").iterdir()) == []


async def test_an_open_that_fails_lets_go_of_the_directory(tmp_path):
    (tmp_path / "aliases.json").write_text("no JSON")
    with pytest.raises(ValueError, match="Expecting value"):
        await QdrantEdge.open(tmp_path)
    assert is_free(tmp_path)


async def test_aliases_of_a_caller_who_has_gone_are_what_the_file_says(shop, tmp_path, monkeypatch):
    reached, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(root, aliases):
        loop.call_soon_threadsafe(reached.set)
        go_on.wait(60)
        edge_files.write_aliases(root, aliases)

    monkeypatch.setattr(edge, "write_aliases", slow)
    setting = asyncio.create_task(shop.set_alias("window", "shop"))
    await reached.wait()
    setting.cancel()
    go_on.set()
    await asyncio.wait([setting])
    assert edge_files.read_aliases(tmp_path) == {"window": "shop"}
    assert (await shop.resolve("window")).name == "shop"


async def test_a_whole_job_outlasts_every_cancellation_and_its_error_is_the_cause():
    gate = Gate()

    async def job():
        await gate()
        raise RuntimeError("a fault")

    task = asyncio.create_task(whole(job()))
    await gate.reached.wait()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
    gate.open.set()
    with pytest.raises(asyncio.CancelledError) as cancelled:
        await task
    assert str(cancelled.value.__cause__) == "a fault"
