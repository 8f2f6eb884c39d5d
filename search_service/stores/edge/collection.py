"""A collection in service: its engine, the order of its writes, and when they are acknowledged.

The engine is started when it is needed, and again when it has died. Reads go to it as they come, writes
one at a time. A write is acknowledged when the engine's write-ahead log is on the disk; writes that wait
at the same time share one flush of it. An engine that cannot open the collection's files, or dies of it
twice, says that they are damaged.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import Context
from pathlib import Path
from typing import Any, TypeAlias

import structlog

from clipsearch.serving.errors import CollectionDamaged, NotFound, ServiceError, Unavailable
from search_service.breaker import Breaker
from search_service.deadline import store_within
from search_service.stores.collection import (
    CHANGEABLE,
    CollectionSpec,
    PayloadIndex,
)
from search_service.stores.edge.codec import PackedPoint, ShardInfo
from search_service.stores.edge.files import (
    OUTDATED,
    SPEC,
    disk_bytes,
    disk_errors,
    disk_full,
    free_bytes,
    read_calibration,
    sync_log,
    write_json,
    write_whole,
)
from search_service.stores.edge.process import Children, EngineFailed, EngineProcess, EngineStopped, whole
from search_service.stores.filters import Filter

_log = structlog.get_logger(__name__)
_PING_S = 1.0
_SIZE_S = 5.0  # of the look at how large the files are; a list waits for that of each collection
_START_S = 60.0  # for an engine that is started while the collection is closed, or its shard removed
_DEATHS = 2  # of engines, one after the other, that were opening the files: then it is the files
_AGAIN_S = 30.0  # after which another engine may try to open files that one could not
# Points that the engine takes at once (4 ms, of 512 dimensions), and how many such batches are with it: it
# waits for none, and a search waits for at most two. Loading over gRPC, two cores, medians of 3: 1 x 64
# points 6,623/s, 2 x 64 7,323/s, 3 x 32 7,045/s, 2 x 48 8,217/s.
_BATCH = 48
_BATCHES_AHEAD = 2


@dataclasses.dataclass(slots=True)
class Written:
    """What the maintenance goes by."""

    at: float = 0.0  # time.monotonic() of the last write
    unflushed: int = 0  # points
    upserted: int = 0  # points, since there were
    points: int = 0  # so many
    unindexable: int = 0  # vectors that the engine would not index


class EdgeCollection:
    """An open collection. Whoever holds `writing` knows that the shard stands still.

    `maintain` is run in the background once something is written. It and what several calls wait for, an
    engine's start and a flush of the log, run in a context of their own: they are no single call's.
    `spare` is an engine with nothing open, to be used first. With `damage` set its files cannot be used: it
    is there to be told, and deleted.
    """

    def __init__(
        self,
        folder: Path,
        spec: CollectionSpec,
        shard: str,
        children: Children,
        maintain: Maintain,
        min_free_bytes: int,
        timeout: float,
        *,
        spare: EngineProcess | None = None,
        damage: str = "",
    ) -> None:
        self.folder = folder
        self.spec = spec
        self.shard = shard
        self.calibration: Mapping[str, Any] | None = read_calibration(folder)
        self.writing = asyncio.Lock()
        self.written = Written()
        self.maintenance: asyncio.Task[None] | None = None
        self.replaced: EngineProcess | None = None  # the engine that was in service before the last `swap`
        self.closed = False
        self.outdated = (folder / OUTDATED).exists()  # its index was built by other settings
        self._children = children
        self._maintain = maintain
        self._min_free_bytes = min_free_bytes
        self._timeout = timeout
        self._breaker = Breaker("store")
        self._engine: EngineProcess | None = None
        self._spare = spare  # or the one that is being opened
        self._starting: asyncio.Task[EngineProcess] | None = None
        self._damage = damage
        self._damaged_until = math.inf
        self._deaths = 0
        self._log_flush: asyncio.Task[None] | None = None
        self._log_flushing = asyncio.Lock()

    @property
    def running(self) -> bool:
        """Whether the engine runs; if not, it is started when needed."""
        return self._engine is not None and self._engine.alive

    @property
    def damage(self) -> str:
        """Why the files cannot be used, or the engine could not open them a moment ago; "" = not known."""
        return self._damage if time.monotonic() < self._damaged_until else ""

    async def read(self, method: str, *arguments: Any) -> Any:
        """What `method` of the engine answers. Raises DeadlineExceeded."""
        async with self._breaker.call(), store_within(self._timeout):
            return await self._ask(method, *arguments)

    async def info(self) -> tuple[ShardInfo, int]:
        """The collection as it stands, and the bytes that it takes on the disk. Raises DeadlineExceeded."""
        async with self._breaker.call(), store_within(self._timeout):
            found = await self._ask("info")
            with disk_errors():
                async with store_within(_SIZE_S):
                    return found, await asyncio.to_thread(disk_bytes, self.folder)

    async def write(self, method: str, *arguments: Any, points: int = 0) -> Any:
        """Does one write, which replaces so many points or less, and returns its result, once it is durable.

        Raises ResourceExhausted if the disk is nearly full, and DeadlineExceeded; the write may be done all
        the same then.
        """
        async with self._writes():
            async with self.writing:
                self._wrote(points)
                result = await self._ask(method, *arguments)
            await self._flush_log()
        return result

    async def upsert(
        self, points: Sequence[PackedPoint], insert_only: bool, update_filter: Filter | None, *, durable: bool
    ) -> frozenset[str]:
        """Writes points. With `insert_only` or `update_filter` some that are there stay; returns their ids.

        Raises what `write` does; part of the points may be there then. The engine takes them in batches,
        so that a search waits for two of them and not for all.
        """
        batches = [points[start : start + _BATCH] for start in range(0, len(points), _BATCH)]
        async with self._writes():
            async with self.writing:
                self._wrote(len(points))
                there = await self._upsert_in_turn(batches, insert_only, update_filter)
            if durable:
                await self._flush_log()
        return frozenset[str]().union(*there)

    async def create_payload_index(self, key: str, index: PayloadIndex) -> PayloadIndex:
        """Adds an index, unless the field has one; returns the one there now."""
        async with self._writes(), self.writing:
            there = self.spec.payload_indexes
            if key not in there:
                self._wrote(0)
                await self._ask("create_payload_index", key, index)
                await self._flush_log()
                indexes = {**there, key: index}
                await whole(self._save(dataclasses.replace(self.spec, payload_indexes=indexes)))
        return self.spec.payload_indexes[key]

    async def delete_payload_index(self, key: str) -> None:
        """Removes a field's index, if it has one."""
        async with self._writes(), self.writing:
            if key in self.spec.payload_indexes:
                self._wrote(0)
                await self._ask("delete_payload_index", key)
                await self._flush_log()
                left = {other: index for other, index in self.spec.payload_indexes.items() if other != key}
                await whole(self._save(dataclasses.replace(self.spec, payload_indexes=left)))

    async def set_successor(self, successor: str) -> None:
        """Keeps the successor in the settings. Writes that began before are done when it returns.

        Raises NotFound once the collection is closed.
        """
        async with self.writing:
            if self.closed:
                raise self._gone()
            await whole(self._save(dataclasses.replace(self.spec, successor=successor)))

    async def update(self, changes: Mapping[str, Any]) -> None:
        """Keeps other settings, by which the index is built anew soon, also after a restart.

        Raises NotFound once the collection is closed.
        """
        async with self.writing:
            if self.closed:
                raise self._gone()
            with disk_errors():
                await asyncio.to_thread(write_whole, self.folder / OUTDATED, "")
            self.outdated = True
            await whole(self._save(dataclasses.replace(self.spec, **changes)))
            self._wrote(0)

    async def rebuilt(self, spec: CollectionSpec) -> None:
        """To be told that the index has been built by these settings."""
        async with self.writing:
            if all(getattr(spec, name) == getattr(self.spec, name) for name in CHANGEABLE):
                with disk_errors():
                    await asyncio.to_thread((self.folder / OUTDATED).unlink, missing_ok=True)
                self.outdated = False

    async def engine(self) -> EngineProcess:
        """The engine, started if it is not running. Raises NotFound once the collection is closed."""
        if self.closed:
            raise self._gone()
        if self._engine is not None and self._engine.alive:
            return self._engine
        if self.damage:
            raise CollectionDamaged(self.spec.name, self.damage)
        if self._starting is None or self._starting.done():
            self._starting = asyncio.create_task(self._start(), context=Context())
        return await asyncio.shield(self._starting)

    def swap(self, engine: EngineProcess, shard: str) -> None:
        """Puts another engine and shard into service; the caller holds `writing`, and ends `replaced`."""
        self.replaced, self._engine, self.shard = self._engine, engine, shard

    async def started(self) -> None:
        """Returns when no engine is being started; after a minute at most."""
        if self._starting is not None:
            await asyncio.wait([self._starting], timeout=_START_S)

    async def ping(self) -> None:
        """Returns if the engine answers, is at work or does not run; while it is stuck, calls are refused.

        Raises Unavailable.
        """
        async with self._breaker.probe():
            if self._engine is not None and self.running and not await self._engine.responds(_PING_S):
                raise Unavailable("store", f"the engine of collection {self.spec.name!r} does not answer")

    async def close(self) -> None:
        """Stops the maintenance, answers what was asked, flushes and lets go of the files."""
        self.closed = True
        await self._stop_maintenance()
        await self.started()  # somebody waits for it
        async with self.writing:
            for engine in (self._engine, self._spare):
                if engine is not None:
                    await engine.stop(flush=engine is self._engine)

    async def discard(self) -> None:
        """Lets go of files that are to be removed, also of an engine that is stuck: it is asked nothing more.

        Its callers are told that the collection is gone.
        """
        await self.kill()
        await self.started()  # one may have been on its way
        if self._engine is not None:
            await self._engine.kill()
        async with self.writing:  # whoever writes into the folder is done
            pass

    async def kill(self) -> None:
        """Lets go of the files at once: what is acknowledged is there all the same."""
        self.closed = True
        for engine in (self._engine, self._spare):
            if engine is not None:
                await engine.kill()
        await self._stop_maintenance()

    async def _stop_maintenance(self) -> None:
        if self.maintenance is not None:
            self.maintenance.cancel()
            await asyncio.wait([self.maintenance])

    async def _start(self) -> EngineProcess:
        died, shard = self._engine, self.shard  # `swap` may change both meanwhile
        if died is not None:  # its process is still to be laid to rest
            _log.warning("an engine has died and is started again", collection=self.spec.name)
            await died.kill()
        engine = self._spare = self._spare or await EngineProcess.start(self._children)
        failure: EngineFailed | ServiceError = self._gone()
        try:
            points = await engine.call("open", self.folder / shard, self.spec.bm25_field)
            if self._engine is died:
                self._engine, self._damage, self._deaths = engine, "", 0
                self.written.upserted, self.written.points = 0, points
                self._wrote(0)  # the engine before may have died before its maintenance
                return engine
        except (EngineFailed, ServiceError) as error:
            failure = error
        finally:
            self._spare = None
            if self._engine is not engine:
                await engine.kill()
        if self._engine is not None and self._engine is not died:
            return self._engine  # a new index has come into service meanwhile
        raise self._gone() if self.closed else self._not_opened(failure)

    def _not_opened(self, error: EngineFailed | ServiceError) -> EngineFailed | ServiceError:
        """What to tell callers, and those who come in the next moments."""
        died = isinstance(error, EngineStopped)
        self._deaths += died
        if not isinstance(error, EngineFailed | Unavailable) or (died and self._deaths < _DEATHS):
            return error
        why = "the engine died of it" if died else str(error)
        why = why.replace(str(self.folder), "").partition("\n")[0][:300]
        self._damage = f"{self.folder.parent.name}/{self.folder.name}/{self.shard} cannot be opened: {why}"
        self._damaged_until = time.monotonic() + _AGAIN_S
        _log.error("a collection is damaged", collection=self.spec.name, damage=self._damage)
        return CollectionDamaged(self.spec.name, self._damage)

    async def _ask(self, method: str, *arguments: Any) -> Any:
        """What `method` of the engine answers. If the engine dies, what may be done twice is asked again."""
        try:
            return await (await self.engine()).call(method, *arguments)
        except EngineStopped:
            if method == "delete":  # its answer, how many points are gone, would be that of the second time
                raise
            return await (await self.engine()).call(method, *arguments)

    async def _upsert_in_turn(
        self, batches: Sequence[Sequence[PackedPoint]], *how: Any
    ) -> list[frozenset[str]]:
        """The answers, in order. The engine has the next batch when it is done with one.

        The first that fails ends it; one that the engine has by then is done all the same.
        """
        there: list[frozenset[str]] = []
        asked: deque[asyncio.Task[frozenset[str]]] = deque()
        try:
            for batch in batches:
                if len(asked) == _BATCHES_AHEAD:
                    there.append(await asked.popleft())
                asked.append(asyncio.create_task(self._ask("upsert", batch, *how)))
            while asked:
                there.append(await asked.popleft())
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        return there

    @asynccontextmanager
    async def _writes(self) -> AsyncIterator[None]:
        """About a write, with what it waits for."""
        try:
            free = free_bytes(self.folder)
        except OSError as error:
            place = f"{self.folder.parent.name}/{self.folder.name}"
            raise CollectionDamaged(self.spec.name, f"{place} cannot be read: {error.strerror}") from error
        if free < self._min_free_bytes:
            raise disk_full()
        async with self._breaker.call(), store_within(self._timeout):
            yield

    def _wrote(self, points: int) -> None:
        self.written.at = time.monotonic()
        self.written.unflushed += max(1, points)
        self.written.upserted += points
        if (self.maintenance is None or self.maintenance.done()) and not self.closed:
            self.maintenance = asyncio.create_task(self._maintain(self), context=Context())

    async def _flush_log(self) -> None:
        if self._log_flush is None:
            self._log_flush = asyncio.create_task(self._next_log_flush(), context=Context())
        with disk_errors():
            await asyncio.shield(self._log_flush)

    async def _next_log_flush(self) -> None:
        async with self._log_flushing:
            self._log_flush = None  # who writes from here on needs another
            await asyncio.to_thread(sync_log, self.folder / self.shard)

    async def _save(self, spec: CollectionSpec) -> None:
        with disk_errors():
            await asyncio.to_thread(write_json, self.folder / SPEC, dataclasses.asdict(spec))
        self.spec = spec

    def _gone(self) -> NotFound:
        return NotFound("collection", self.spec.name)


Maintain: TypeAlias = Callable[[EdgeCollection], Coroutine[Any, Any, None]]
