"""A collection in service: the order of its writes, and when they are acknowledged.

Reads go to the engine as they come. Writes go one at a time. A write is acknowledged when the engine's
write-ahead log is on the disk; writes that wait at the same time share one flush of it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clipsearch.serving.errors import CollectionDamaged, ResourceExhausted, Unavailable
from search_service.stores.edge.codec import PackedPoint
from search_service.stores.edge.files import free_bytes, read_calibration, sync_log, write_spec
from search_service.stores.edge.indexing import Maintenance, Shared
from search_service.stores.edge.process import EngineProcess, until, whole
from search_service.stores.edge.supervisor import Supervisor
from search_service.stores.protocol import CollectionSpec, IndexType

_MOST_WRITERS = 256
# Points that the engine takes at once (4 ms, of 512 dimensions), and how many such batches are with it: it
# waits for none, and a search waits for at most two. Loading over gRPC, two cores, medians of 3: 1 x 64
# points 6,623/s, 2 x 64 7,323/s, 3 x 32 7,045/s, 2 x 48 8,217/s.
_BATCH = 48
_BATCHES_AHEAD = 2


class EdgeCollection:
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
        self.calibration: Mapping[str, Any] | None = read_calibration(folder)
        self.supervisor = Supervisor(folder, shard, shared.children, self._started, spare)
        self.maintenance = Maintenance(self.supervisor, shared)
        self._min_free_bytes = shared.policy.min_free_bytes
        self._writers = 0
        self._log_flush: asyncio.Task[None] | None = None
        self._log_flushing = asyncio.Lock()

    async def read(self, method: str, *arguments: Any, timeout: float) -> Any:
        """What `method` of the engine answers. Raises DeadlineExceeded."""
        deadline = time.monotonic() + timeout
        async with self.supervisor.guard(), until(deadline):
            return await self.supervisor.ask(method, *arguments, deadline=deadline)

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

        Raises what `write` does; part of the points may be there then. The engine takes them in batches,
        so that a search waits for two of them and not for all.
        """
        batches = [(points[start : start + _BATCH], insert_only) for start in range(0, len(points), _BATCH)]
        there: list[frozenset[str]] = await self._write(
            "upsert", batches, points=len(points), durable=durable, timeout=timeout
        )
        return frozenset[str]().union(*there)

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
        async with self.supervisor.writing:
            if self.supervisor.closed:
                raise self.supervisor.gone()
            await whole(self._save(dataclasses.replace(self.spec, successor=successor)))

    async def close(self) -> None:
        """Stops the maintenance, answers what was asked, flushes and lets go of the files."""
        self.supervisor.closed = True
        await self.maintenance.stop()
        await self.supervisor.stop()

    async def kill(self) -> None:
        """Lets go of the files at once: what is acknowledged is there all the same."""
        self.supervisor.closed = True
        await self.supervisor.kill()
        await self.maintenance.stop()

    def _started(self, points: int) -> None:
        self.maintenance.started(points)

    async def _save(self, spec: CollectionSpec) -> None:
        await asyncio.to_thread(write_spec, self.folder, spec)
        self.spec = spec

    async def _write(
        self, method: str, calls: Sequence[tuple[Any, ...]], *, points: int, durable: bool, timeout: float
    ) -> list[Any]:
        try:
            free = free_bytes(self.folder)
        except OSError as error:
            place = f"{self.folder.parent.name}/{self.folder.name}"
            raise CollectionDamaged(self.spec.name, f"{place} cannot be read: {error.strerror}") from error
        if free < self._min_free_bytes:
            raise ResourceExhausted("the store's disk is full", "STORE_DISK_FULL", retry_after_s=30)
        if self._writers >= _MOST_WRITERS:
            raise ResourceExhausted("the store is busy", "STORE_BUSY", retry_after_s=0.5)
        self._writers += 1
        deadline = time.monotonic() + timeout
        try:
            async with self.supervisor.guard(), until(deadline):
                async with self.supervisor.writing:
                    self.maintenance.wrote(points)
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
                if len(asked) == _BATCHES_AHEAD:
                    results.append(await asked.popleft())
                asked.append(asyncio.create_task(self.supervisor.ask(method, *call, deadline=deadline)))
            while asked:
                results.append(await asked.popleft())
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        return results

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
            await asyncio.to_thread(sync_log, self.folder / self.supervisor.shard)
