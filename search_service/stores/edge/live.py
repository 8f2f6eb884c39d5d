"""A collection in service: its engine process, the order of its writes, and what it does by itself.

Reads go to the engine as they come. Writes go one at a time, so that whoever holds `writing` knows
that the shard stands still. A write is acknowledged when the engine's write-ahead log is on the
disk; writes that wait at the same time share one flush of it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from clipsearch.serving.errors import (
    CollectionDamaged,
    NotFound,
    ResourceExhausted,
    ServiceError,
    Unavailable,
)
from search_service.encoder.breaker import Breaker
from search_service.stores.edge.children import Children, whole
from search_service.stores.edge.collection import ShardInfo
from search_service.stores.edge.files import free_bytes, read_calibration, sync_log, write_spec
from search_service.stores.edge.indexing import rebuild
from search_service.stores.edge.opening import Openings
from search_service.stores.edge.points import PackedPoint
from search_service.stores.edge.process import EngineFailed, EngineProcess, EngineStopped, until
from search_service.stores.protocol import CollectionSpec, IndexType

_log = structlog.get_logger(__name__)
_MOST_WRITERS = 256
# Points that the engine takes at once (4 ms, of 512 dimensions), and how many such parts are with it: it
# waits for none, and a search waits for at most two. Loading over gRPC, two cores, medians of 3: 1 x 64
# points 6,623/s, 2 x 64 7,323/s, 3 x 32 7,045/s, 2 x 48 8,217/s.
_PART = 48
_PARTS_AHEAD = 2
# Written between two flushes: what a restart after a crash has to do again, 2 s. A flush stops the
# engine for 0.1 to 0.7 s (on busy cores), however little there is to flush.
_FLUSH_POINTS = 50_000
_PING_S = 1.0
_START_S = 60.0  # for an engine that is started while the collection is closed
_ONCE = frozenset({"delete"})  # its answer, how many points are gone, would be that of the second time
_DEAD_POINTS = 1000  # deleted or replaced, from which on, if they are a fifth of all,
_BUSY_REST = 4  # times the time that an index took, before the next among writes
_DEAD_SHARE = 0.2  # their space is won back; so many the engine wants too


@dataclasses.dataclass(frozen=True, slots=True)
class Upkeep:
    """When a collection does what by itself."""

    index_threshold: int = 20_000  # vectors without an index, from which on one is built,
    quiet_s: float = 2.0  # once there was no write for so long,
    busy_s: float = 60.0  # or there were writes for so long without a look at the index
    min_free_bytes: int = 256 << 20  # on the disk, below which writes are refused


@dataclasses.dataclass(frozen=True, slots=True)
class Shared:
    """What the collections of one data directory have in common."""

    children: Children
    upkeep: Upkeep
    indexing: asyncio.Semaphore  # one index at a time: each wants all cores and a copy's worth of disk


class LiveCollection:
    """An open collection. `spare` is an engine with nothing open, to be used first."""

    def __init__(
        self,
        folder: Path,
        spec: CollectionSpec,
        shard: str,
        shared: Shared,
        spare: EngineProcess | None = None,
    ) -> None:
        self.folder = folder
        self.spec = spec
        self.shard = shard
        self.calibration: Mapping[str, Any] | None = read_calibration(folder)
        self.shared = shared
        self.writing = asyncio.Lock()
        self._breaker = Breaker("store")
        self._upkeep = shared.upkeep
        self._spare = spare
        self._engine: EngineProcess | None = None
        self._starting: asyncio.Task[EngineProcess] | None = None
        self._closed = False
        self._openings = Openings(folder)
        self._writers = 0
        self._log_flush: asyncio.Task[None] | None = None
        self._log_flushing = asyncio.Lock()
        self._upkeeping: asyncio.Task[None] | None = None
        self._written_at = 0.0
        self._unflushed = 0
        self._upserted = 0  # since the last look at dead points,
        self._points_then = 0  # when there were so many points
        self._given_up = 0  # vectors that the engine would not index
        self._busy_s = shared.upkeep.busy_s

    async def engine(self) -> EngineProcess:
        """The engine, started if it is not running. Raises NotFound once the collection is closed."""
        if self._closed:
            raise NotFound("collection", self.spec.name)
        if self._engine is not None and self.running:
            return self._engine
        if self.damage:
            raise CollectionDamaged(self.spec.name, self.damage)
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
            self._starting.add_done_callback(self._started)
        starting = self._starting
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            if starting.cancelled():  # not the caller
                raise NotFound("collection", self.spec.name) from None
            raise

    async def read(self, method: str, *arguments: Any, timeout: float) -> Any:
        """What `method` of the engine answers. Raises DeadlineExceeded."""
        deadline = time.monotonic() + timeout
        async with self._breaker.call(), until(deadline):
            return await self._ask(method, *arguments, deadline=deadline)

    async def write(self, method: str, *arguments: Any, timeout: float) -> Any:
        """Does one write and returns its result.

        Raises ResourceExhausted if the disk is nearly full or too many writers wait, and
        DeadlineExceeded; the write may be done all the same then.
        """
        (result,) = await self._write(method, [arguments], points=0, durable=True, timeout=timeout)
        return result

    async def upsert(
        self, points: Sequence[PackedPoint], insert_only: bool, *, durable: bool, timeout: float
    ) -> frozenset[str]:
        """Writes points. With `insert_only` those that are there stay; returns their ids.

        Raises what `write` does; part of the points may be there then. The engine takes them in parts,
        so that a search waits for two of them and not for all.
        """
        parts = [(points[start : start + _PART], insert_only) for start in range(0, len(points), _PART)]
        there: list[frozenset[str]] = await self._write(
            "upsert", parts, points=len(points), durable=durable, timeout=timeout
        )
        return frozenset[str]().union(*there)

    async def _write(
        self, method: str, calls: Sequence[tuple[Any, ...]], *, points: int, durable: bool, timeout: float
    ) -> list[Any]:
        try:
            free = free_bytes(self.folder)
        except OSError as error:
            place = f"{self.folder.parent.name}/{self.folder.name}"
            raise CollectionDamaged(self.spec.name, f"{place} cannot be read: {error.strerror}") from error
        if free < self._upkeep.min_free_bytes:
            raise ResourceExhausted("the store's disk is full", "STORE_DISK_FULL", retry_after_s=30)
        if self._writers >= _MOST_WRITERS:
            raise ResourceExhausted("the store is busy", "STORE_BUSY", retry_after_s=0.5)
        self._writers += 1
        deadline = time.monotonic() + timeout
        try:
            async with self._breaker.call(), until(deadline):
                async with self.writing:
                    self._wrote(points)
                    results = await self._ask_in_turn(method, calls, deadline)
                if durable:
                    await self._flush_log()
        finally:
            self._writers -= 1
        return results

    async def _ask_in_turn(self, method: str, calls: Sequence[tuple[Any, ...]], deadline: float) -> list[Any]:
        """The calls' results, in order. The engine has the next call when it is done with one.

        The first that fails ends it; one that the engine has by then is done all the same.
        """
        results: list[Any] = []
        asked: deque[asyncio.Task[Any]] = deque()
        try:
            for call in calls:
                if len(asked) == _PARTS_AHEAD:
                    results.append(await asked.popleft())
                asked.append(asyncio.create_task(self._ask(method, *call, deadline=deadline)))
            while asked:
                results.append(await asked.popleft())
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        return results

    async def _ask(self, method: str, *arguments: Any, deadline: float) -> Any:
        """Asks again, once, if the engine dies meanwhile and if it may be done twice."""
        try:
            return await (await self.engine()).call(method, *arguments, deadline=deadline)
        except EngineStopped:
            if method in _ONCE:
                raise
            return await (await self.engine()).call(method, *arguments, deadline=deadline)

    @property
    def running(self) -> bool:
        """Whether its engine runs; if not, it is started when needed."""
        return self._engine is not None and self._engine.alive

    @property
    def damage(self) -> str:
        """Why the engine could not open the files, if it could not a moment ago; "" = nothing is known."""
        return self._openings.damage

    async def ping(self) -> None:
        """Returns if the engine answers, is at work or does not run; while it is stuck, calls are refused.

        Raises Unavailable.
        """
        async with self._breaker.probe():
            if self._engine is not None and self.running and not await self._engine.responds(_PING_S):
                raise Unavailable("store", f"the engine of collection {self.spec.name!r} does not answer")

    async def create_payload_index(self, key: str, type_: IndexType, *, timeout: float) -> IndexType:
        """Adds an index, unless there is one of another type; returns the type of the one there now."""
        there: IndexType = await self.write("create_payload_index", key, type_, timeout=timeout)
        indexes = {**self.spec.payload_indexes, key: there}
        self.spec = dataclasses.replace(self.spec, payload_indexes=indexes)
        return there

    async def set_successor(self, successor: str) -> None:
        """Keeps the successor in the settings. Writes that began before are done when it returns.

        Raises NotFound once the collection is closed, and OSError.
        """
        async with self.writing:
            if self._closed:
                raise NotFound("collection", self.spec.name)
            await whole(self._save(dataclasses.replace(self.spec, successor=successor)))

    async def _save(self, spec: CollectionSpec) -> None:
        await asyncio.to_thread(write_spec, self.folder, spec)
        self.spec = spec

    def swap(self, engine: EngineProcess, shard: str) -> None:
        """Puts another engine and shard into service; the caller holds `writing`."""
        self._engine, self.shard = engine, shard

    @property
    def closed(self) -> bool:
        """Whether it takes no calls any more."""
        return self._closed

    async def close(self) -> None:
        """Stops the upkeep, answers what was asked, flushes and lets go of the files."""
        self._closed = True
        await _ended(self._upkeeping)
        if self._starting is not None:  # somebody waits for it
            await asyncio.wait([self._starting], timeout=_START_S)
        await _ended(self._starting)
        async with self.writing:
            for engine in (self._engine, self._spare):
                if engine is not None:
                    await engine.stop()

    async def kill(self) -> None:
        """Lets go of the files at once: what is acknowledged is there all the same."""
        self._closed = True
        for engine in (self._engine, self._spare):
            if engine is not None:
                await engine.kill()
        await _ended(self._upkeeping)
        await _ended(self._starting)

    async def _start(self) -> EngineProcess:
        died = self._engine
        if died is not None:  # its process is still to be laid to rest
            _log.warning("an engine has died and is started again", collection=self.spec.name)
            await died.stop()
        engine, self._spare = self._spare or await EngineProcess.start(self.shared.children), None
        try:
            if self._engine is died:
                await engine.call("open", self.folder, self.shard)
                info: ShardInfo = await engine.call("info")
            if self._engine is died:
                self._engine = engine
                self._openings.succeeded()
                self._upserted, self._points_then = 0, info.points
                self._wrote(0)  # the one before may have died before its upkeep
        except (EngineFailed, ServiceError) as error:
            if self._engine is died:
                raise error if self._closed else self._openings.failed(self.shard, error) from error
        finally:
            if self._engine is not engine:
                await engine.kill()
        assert self._engine is not None  # if it is another, a new index has come into service meanwhile
        return self._engine

    def _started(self, task: asyncio.Task[EngineProcess]) -> None:
        self._starting = None
        if not task.cancelled():
            task.exception()  # seen by those who wait, if any do still

    async def _flush_log(self) -> None:
        if self._log_flush is None:
            self._log_flush = asyncio.create_task(self._next_log_flush())
        try:
            await asyncio.shield(self._log_flush)
        except OSError as error:
            raise Unavailable("store", "the store's disk cannot be written") from error

    async def _next_log_flush(self) -> None:
        async with self._log_flushing:
            self._log_flush = None  # who writes from here on needs another
            await asyncio.to_thread(sync_log, self.folder / self.shard)

    def _wrote(self, points: int) -> None:
        self._upserted += points
        self._unflushed += max(1, points)
        self._written_at = time.monotonic()
        if (self._upkeeping is None or self._upkeeping.done()) and not self._closed:
            self._upkeeping = asyncio.create_task(self._keep_up())

    async def _keep_up(self) -> None:
        """Flushes now and then; flushes and looks after the index when the writers are quiet.

        Writers that never are do not keep it from its index for ever. They share the machine with
        it, so that it gets a fifth of the time then.
        """
        seen = -1.0
        try:
            while seen != self._written_at:
                since = time.monotonic()
                while (
                    left := min(self._written_at + self._upkeep.quiet_s, since + self._busy_s)
                    - time.monotonic()
                ) > 0:
                    if self._unflushed >= _FLUSH_POINTS:
                        await self._flush()
                    await asyncio.sleep(min(left, 0.25))
                seen = self._written_at
                await self._flush()
                await self._index()
        except Exception:
            _log.exception("the upkeep of a collection failed", collection=self.spec.name)

    async def _flush(self) -> None:
        async with self.writing:
            engine = await self.engine()
            self._unflushed = 0
            await engine.call("flush")

    async def _index(self) -> None:
        """Builds the index anew if enough vectors have none, or enough points are dead."""
        info: ShardInfo = await (await self.engine()).call("info")
        unindexed = info.image_vectors + info.text_vectors - info.indexed_vectors
        dead = self._upserted - (info.points - self._points_then)
        wasteful = dead >= max(_DEAD_POINTS, _DEAD_SHARE * (info.points + dead))
        if unindexed - self._given_up < self._upkeep.index_threshold and not wasteful:
            return
        if free_bytes(self.folder) - info.disk_bytes < self._upkeep.min_free_bytes:
            _log.warning("no room on the disk to build an index", collection=self.spec.name)
            return
        begun = time.monotonic()
        upserted = self._upserted
        async with self.shared.indexing:
            changed = await rebuild(self)
        seconds = time.monotonic() - begun
        self._busy_s = max(self._upkeep.busy_s, _BUSY_REST * seconds)
        self._given_up = 0 if changed else unindexed
        self._upserted -= upserted
        self._points_then = info.points
        _log.info(
            "a collection's index was looked after",
            collection=self.spec.name,
            points=info.points,
            changed=changed,
            seconds=round(seconds, 1),
        )


async def _ended(task: asyncio.Task[Any] | None) -> None:
    """Cancels a task and waits until it has ended."""
    if task is not None:
        task.cancel()
        await asyncio.wait([task])
