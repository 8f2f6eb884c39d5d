"""Builds a collection's HNSW index while the collection is in service.

    python -m search_service.stores.edge.indexing PARENT SHARD THRESHOLD

The engine's `optimize` stops everything in its process until it is done: 4 s for 20,000 vectors,
23 s for 100,000. So a copy of the shard is optimised, in a process of its own and at a low
priority. Writes that come meanwhile are recorded, done again on the copy, and the copy takes over.
Until the one small file that names the shard in use is replaced, the old shard is the collection;
what a crash leaves beside it is removed when the store opens. `optimize` also drops what deleted
points left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import qdrant_edge as qe

from clipsearch.serving.errors import ServiceError
from search_service.stores.edge.child import become_child
from search_service.stores.edge.children import whole
from search_service.stores.edge.config import engine_config
from search_service.stores.edge.files import (
    copy_shard,
    current_shard,
    read_spec,
    set_current_shard,
    sync_folder,
    sync_tree,
)
from search_service.stores.edge.process import EngineProcess

if TYPE_CHECKING:
    from search_service.stores.edge.live import LiveCollection, Shared

# A tenth of what others want of a full machine. At 19 it is a sixtieth: 2,000 vectors took 104 s on two
# cores that ten processes wanted, and as long as there is no index, searches want more of them.
_NICE = 10
_NOTHING_TO_DO = 3  # exit code
_SHORT_BYTES = 1 << 20  # a rest of the record that can be done while writers wait
_MOST_ROUNDS = 8
_POLL_S = 0.05


class IndexingFailed(Exception):
    """The process that builds the index failed; it has said why on stderr."""


async def rebuild(collection: LiveCollection) -> bool:
    """Optimises a copy of the shard and puts it into service; False if there was nothing to do.

    Writers wait while the shard is copied (what was indexed before is shared, not copied) and
    while the last few writes are done again; readers never do. However it ends, one engine and one
    shard are left.
    """
    folder, before = collection.folder, collection.shard
    shard = f"shard.{int(before.removeprefix('shard.')) + 1}"
    record = folder / f"{shard}.record"
    engine = await collection.engine()
    fresh: EngineProcess | None = None
    try:
        async with collection.writing:
            await engine.call("flush")
            await whole(asyncio.to_thread(_copy, folder / before, folder / shard))
            await engine.call("record", record)
        if not await _optimize(folder / shard, collection.shared):
            return False
        fresh = await EngineProcess.start(collection.shared.children)
        await fresh.call("open", folder, shard)
        await fresh.call("warm")
        done = await _catch_up(engine, fresh, record)
        await asyncio.to_thread(sync_tree, folder / shard)
        async with collection.writing:
            await fresh.call("replay", record, done, await engine.call("recorded"))
            await fresh.call("flush")
            await whole(_take_over(collection, fresh, shard))
        return True
    finally:
        try:
            if collection.shard == before and not collection.closed:
                with contextlib.suppress(ServiceError):  # it has died, and records nothing
                    await engine.call("stop_recording")
        finally:
            if collection.shard == before:
                await whole(_clear_up(collection, fresh, shard, record))
            else:
                await whole(_clear_up(collection, engine, before, record))


async def _take_over(collection: LiveCollection, engine: EngineProcess, shard: str) -> None:
    try:
        await asyncio.to_thread(set_current_shard, collection.folder, shard)
    finally:
        # The name may stand although the disk did not confirm it: what it says is what a restart opens.
        if current_shard(collection.folder) == shard:
            collection.swap(engine, shard)


async def _clear_up(
    collection: LiveCollection, engine: EngineProcess | None, shard: str, record: Path
) -> None:
    """Ends the engine that is not in service and then, when nobody writes there, removes its shard."""
    if engine is not None:
        await engine.retire()
    await asyncio.to_thread(_remove, collection.folder, shard, record)


async def _catch_up(engine: EngineProcess, fresh: EngineProcess, record: Path) -> int:
    """Does recorded writes again until few are left; returns how many bytes of the record are done."""
    done = 0
    for _ in range(_MOST_ROUNDS):
        end = await engine.call("recorded")
        await fresh.call("replay", record, done, end)
        short = end - done < _SHORT_BYTES
        done = end
        if short:
            break
    return done


async def _optimize(shard: Path, shared: Shared) -> bool:
    """Runs `main` below. Raises IndexingFailed."""
    process = shared.children.start(
        "search_service.stores.edge.indexing", str(shard), str(shared.upkeep.index_threshold)
    )
    try:
        while (code := process.poll()) is None:  # noqa: ASYNC110 - a thread would be held for minutes
            await asyncio.sleep(_POLL_S)
    finally:
        process.kill()
        await whole(asyncio.to_thread(process.wait))
    if code not in (0, _NOTHING_TO_DO):
        raise IndexingFailed(f"exit code {code}")
    return code == 0


def _copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)  # of an attempt that could not clear up
    copy_shard(source, target)


def _remove(folder: Path, shard: str, record: Path) -> None:
    sync_folder(folder)  # or a power cut could bring the name of the shard back, without the shard
    shutil.rmtree(folder / shard, ignore_errors=True)
    record.unlink(missing_ok=True)


def main() -> None:
    """Optimises a shard that nobody else has open."""
    become_child(int(sys.argv[1]))
    os.nice(_NICE)
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))  # it never takes a core from who wakes up
    folder = Path(sys.argv[2])
    # The threshold is today's, not that of the collection's creation.
    shard = qe.EdgeShard.load(str(folder), engine_config(read_spec(folder.parent), int(sys.argv[3])))
    changed = shard.optimize()
    shard.flush()
    shard.close()
    sys.exit(0 if changed else _NOTHING_TO_DO)


if __name__ == "__main__":
    main()
