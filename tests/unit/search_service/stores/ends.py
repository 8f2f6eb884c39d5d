"""For tests of how jobs of the Edge store end: gates before their steps, and what is left."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from pathlib import Path
from types import ModuleType

import pytest

from search_service.stores.edge import files, indexing
from search_service.stores.edge.indexing import MaintenancePolicy
from search_service.stores.edge.process import EngineProcess
from search_service.stores.edge.store import QdrantEdge

QUIET = MaintenancePolicy(quiet_s=600)
SHOP = Path("collections", "shop")


def processes() -> set[int]:
    stats = Path("/proc").glob("[0-9]*/stat")
    return {int(stat.parent.name) for stat in stats if _is_engine_of_ours(stat)}


def _is_engine_of_ours(stat: Path) -> bool:
    """Whether it is a child of this process that runs an engine, or that nobody has waited for."""
    try:
        while True:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if int(parent) != os.getpid() or state == "Z":
                return int(parent) == os.getpid()
            if command := stat.with_name(
                "cmdline"
            ).read_bytes():  # the kernel has none for a moment after exec
                return b"search_service.stores." in command
    except OSError:  # it has ended meanwhile
        return False


def threads_of(process: int) -> int:
    return len(list(Path(f"/proc/{process}/task").iterdir()))


def shards(root: Path) -> list[str]:
    return sorted(path.name for path in (root / SHOP).glob("shard.*"))


def is_free(root: Path) -> bool:
    files.open_root(root, patience_s=0).close()
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


def stop_at(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str
) -> tuple[asyncio.Event, threading.Event]:
    """Blocking work that waits in its thread: an event that it has begun, and one that lets it go on."""
    reached, go_on, loop = asyncio.Event(), threading.Event(), asyncio.get_running_loop()
    work = getattr(module, name)

    def slow(*arguments):
        loop.call_soon_threadsafe(reached.set)
        go_on.wait(60)
        return work(*arguments)

    monkeypatch.setattr(module, name, slow)
    return reached, go_on


def hold(monkeypatch: pytest.MonkeyPatch, step: str, gate: Gate) -> None:
    """Puts the gate before a step: what an engine is asked, is done to, or what indexing does."""
    call = EngineProcess.call

    async def gated_call(engine, method, *arguments):
        if method == step:
            await gate()
        return await call(engine, method, *arguments)

    async def gated(*arguments, **options):
        await gate()
        return await original(*arguments, **options)

    owner = indexing if step.startswith("_") else EngineProcess
    if hasattr(owner, step):
        original = getattr(owner, step)
        monkeypatch.setattr(owner, step, gated)
    else:
        monkeypatch.setattr(EngineProcess, "call", gated_call)


def freeze_builders(monkeypatch: pytest.MonkeyPatch) -> asyncio.Queue[EngineProcess]:
    """Engines that are asked to optimise stand still; they can be had here."""
    call, frozen = EngineProcess.call, asyncio.Queue()

    async def freezing(engine, method, *arguments):
        if method == "optimize":
            os.kill(engine._process.pid, signal.SIGSTOP)
            frozen.put_nowait(engine)
        return await call(engine, method, *arguments)

    monkeypatch.setattr(EngineProcess, "call", freezing)
    return frozen


async def no_optimizer(*arguments):
    """An index in no time: these tests are about what stands around it."""
    return True


async def rebuilt(store: QdrantEdge) -> bool:
    """Builds the index of `shop` now."""
    return await indexing.rebuild(store._live["shop"], store._children, store._policy.index_threshold)


async def reopened_count(root: Path) -> int:
    store = await QdrantEdge.open(root, QUIET)
    try:
        return await store.count("shop")
    finally:
        await store.close()
