"""What a collection does by itself: flushes, and builds its HNSW index while it is in service.

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
import dataclasses
import shutil
import time
from pathlib import Path

import structlog

from clipsearch.serving.errors import ServiceError
from search_service.stores.collection import CollectionSpec
from search_service.stores.edge.codec import ShardInfo
from search_service.stores.edge.collection import EdgeCollection
from search_service.stores.edge.files import (
    copy_shard,
    current_shard,
    disk_bytes,
    free_bytes,
    set_current_shard,
    sync,
    sync_tree,
)
from search_service.stores.edge.process import Children, EngineProcess, whole

_log = structlog.get_logger(__name__)
_SHORT_BYTES = 1 << 20  # a rest of the record that can be done while writers wait
_MOST_ROUNDS = 8
# Written between two flushes: what a restart after a crash has to do again, 2 s. A flush stops the
# engine for 0.1 to 0.7 s (on busy cores), however little there is to flush.
_FLUSH_POINTS = 50_000
_DEAD_POINTS = 1000  # deleted or replaced, from which on, if they are a fifth of all,
_DEAD_SHARE = 0.2  # their space is won back; so many the engine wants too
_BUSY_REST = 4  # times the time that an index took, before the next among writes


@dataclasses.dataclass(frozen=True, slots=True)
class MaintenancePolicy:
    """When a collection does what by itself."""

    index_threshold: int = 20_000  # vectors without an index, from which on one is built,
    quiet_s: float = 2.0  # once there was no write for so long,
    busy_s: float = 60.0  # or there were writes for so long without a look at the index
    min_free_bytes: int = 256 << 20  # on the disk, below which writes are refused


class Maintenance:
    """Flushes collections now and then; flushes and looks after their indexes when the writers are quiet.

    Writers that never are do not keep a collection from its index for ever. They share the machine with it,
    so that it gets a fifth of the time then.
    """

    def __init__(self, children: Children, policy: MaintenancePolicy) -> None:
        self._children = children
        self._policy = policy
        self._indexing = asyncio.Semaphore(1)  # each index wants all cores and a copy's worth of disk

    async def run(self, collection: EdgeCollection) -> None:
        """Does what there is to do until there was no write for a while."""
        written, seen, busy_s = collection.written, -1.0, self._policy.busy_s
        try:
            while seen != written.at:
                since = time.monotonic()
                while (left := min(written.at + self._policy.quiet_s, since + busy_s) - time.monotonic()) > 0:
                    if written.unflushed >= _FLUSH_POINTS:
                        await _flush(collection)
                    await asyncio.sleep(min(left, 0.25))
                seen = written.at
                await _flush(collection)
                begun = time.monotonic()
                await self._index(collection)
                busy_s = max(self._policy.busy_s, _BUSY_REST * (time.monotonic() - begun))
        except Exception:
            _log.exception("the maintenance of a collection failed", collection=collection.spec.name)

    async def _index(self, collection: EdgeCollection) -> None:
        """Builds the index anew if its settings changed, or enough vectors have none, or points are dead."""
        spec, folder, written = collection.spec, collection.folder, collection.written
        name = spec.name
        info: ShardInfo = await (await collection.engine()).call("info")
        unindexed = info.image_vectors + info.text_vectors - info.indexed_vectors
        dead = written.upserted - (info.points - written.points)
        wasteful = dead >= max(_DEAD_POINTS, _DEAD_SHARE * (info.points + dead))
        enough = unindexed - written.unindexable >= self._policy.index_threshold
        if not (enough or wasteful or collection.outdated):
            return
        copied = await asyncio.to_thread(disk_bytes, folder)
        if free_bytes(folder) - copied < self._policy.min_free_bytes:
            _log.warning("no room on the disk to build an index", collection=name)
            return
        upserted = written.upserted
        async with self._indexing:
            changed = await rebuild(collection, self._children, self._policy.index_threshold)
        if collection.outdated:
            await collection.rebuilt(spec)
        written.unindexable = 0 if changed else unindexed
        written.upserted -= upserted
        written.points = info.points
        _log.info(
            "a collection's index was looked after", collection=name, points=info.points, changed=changed
        )


async def _flush(collection: EdgeCollection) -> None:
    async with collection.writing:
        engine = await collection.engine()
        collection.written.unflushed = 0
        await engine.call("flush")


async def rebuild(collection: EdgeCollection, children: Children, index_threshold: int) -> bool:
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
            await whole(asyncio.to_thread(copy_shard, folder / before, folder / shard))
            await engine.call("record", record)
        if not await _optimize(folder / shard, collection.spec, children, index_threshold):
            return False
        fresh = await EngineProcess.start(children)
        await fresh.call("open", folder / shard, collection.spec.bm25_field)
        await fresh.call("warm", collection.spec.dimension)
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
                await whole(_clear_up(folder, fresh, shard, record))
            else:
                await whole(_retire(collection, before, record))


async def _optimize(shard: Path, spec: CollectionSpec, children: Children, index_threshold: int) -> bool:
    """In an engine of its own: `optimize` lowers the priority of the process for good."""
    builder = await EngineProcess.start(children)
    try:
        changed: bool = await builder.call("optimize", shard, spec, index_threshold)
    finally:
        await builder.kill()
    return changed


async def _catch_up(engine: EngineProcess, fresh: EngineProcess, record: Path) -> int:
    """Does recorded writes again until few are left; returns how many bytes of the record are done."""
    done = 0
    for _ in range(_MOST_ROUNDS):
        start, done = done, await engine.call("recorded")
        await fresh.call("replay", record, start, done)
        if done - start < _SHORT_BYTES:
            break
    return done


async def _take_over(collection: EdgeCollection, engine: EngineProcess, shard: str) -> None:
    try:
        await asyncio.to_thread(set_current_shard, collection.folder, shard)
    finally:
        # The name may stand although the disk did not confirm it: what it says is what a restart opens.
        if current_shard(collection.folder) == shard:
            collection.swap(engine, shard)


async def _retire(collection: EdgeCollection, shard: str, record: Path) -> None:
    # If the engine of before had died, another has come for it, or may be opening its shard still.
    await collection.started()
    await _clear_up(collection.folder, collection.replaced, shard, record)


async def _clear_up(folder: Path, engine: EngineProcess | None, shard: str, record: Path) -> None:
    """Ends the engine that is not in service and then, when nobody writes there, removes its shard."""
    if engine is not None:
        await engine.stop(flush=False)
    await asyncio.to_thread(_remove, folder, shard, record)


def _remove(folder: Path, shard: str, record: Path) -> None:
    sync(folder)  # or a power cut could bring the name of the shard back, without the shard
    shutil.rmtree(folder / shard, ignore_errors=True)
    record.unlink(missing_ok=True)
