"""Creations, deletions and aliases that are given up or fail: done or not done, never half."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest

from clipsearch.serving.errors import NotFound, Unavailable
from search_service.stores.edge import files
from search_service.stores.edge.process import EngineStopped, whole
from search_service.stores.edge.store import QdrantEdge
from tests.unit.search_service.stores.ends import QUIET, Gate, hold, is_free, reopened_count, stop_at


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
    reached, go_on = stop_at(monkeypatch, files, "publish")
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
    sync = files.sync

    def ill(path):
        if path == tmp_path / "collections":
            raise OSError("the disk is ill")
        sync(path)

    with monkeypatch.context() as patched:
        patched.setattr(files, "sync", ill)
        with pytest.raises(Unavailable):
            await store.create_collection(spec)
    assert list((tmp_path / "collections").iterdir()) == []
    await store.create_collection(spec)
    await store.upsert("shop", points(1))
    await store.close()


async def test_a_deletion_that_is_given_up_is_done(shop, tmp_path, spec, monkeypatch, children):
    gate = Gate()
    hold(monkeypatch, "kill", gate)
    deleting = asyncio.create_task(shop.delete_collection("shop"))
    await gate.reached.wait()
    deleting.cancel()
    gate.open.set()
    await asyncio.wait([deleting])
    assert children() == set()
    assert list((tmp_path / "collections").iterdir()) == []
    await shop.create_collection(spec)


@pytest.mark.parametrize("asked", [False, True])
async def test_a_frozen_engine_does_not_hold_up_its_deletion_nor_what_comes_behind(
    shop, tmp_path, spec, children, asked
):
    engine = await shop._live["shop"].engine()
    os.kill(engine._process.pid, signal.SIGSTOP)
    if asked:
        waiting = [asyncio.create_task(call) for call in (shop.count("shop"), shop.delete("shop", ["p0"]))]
        while len(engine._waiting) < len(waiting):  # noqa: ASYNC110
            await asyncio.sleep(0)
    async with asyncio.timeout(20):  # a flush is waited for longer
        await shop.delete_collection("shop")
    if asked:
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [NotFound, EngineStopped]
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


async def test_an_open_that_fails_lets_go_of_the_directory(tmp_path, monkeypatch):
    def fail(store):
        raise RuntimeError("a fault")

    monkeypatch.setattr(QdrantEdge, "_look", fail)
    with pytest.raises(RuntimeError, match="a fault"):
        await QdrantEdge.open(tmp_path)
    assert is_free(tmp_path)


async def test_aliases_of_a_caller_who_has_gone_are_what_the_file_says(shop, tmp_path, monkeypatch):
    reached, go_on = stop_at(monkeypatch, files, "write_json")
    setting = asyncio.create_task(shop.set_alias("window", "shop"))
    await reached.wait()
    setting.cancel()
    go_on.set()
    await asyncio.wait([setting])
    assert json.loads((tmp_path / "aliases.json").read_text()) == {"window": "shop"}
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
