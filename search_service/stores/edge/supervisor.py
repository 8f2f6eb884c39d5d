"""Keeps a collection's engine: starts it when it is needed, again when it has died, and asks it.

An engine that cannot open the collection's files, or dies of it twice, says that they are damaged.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import structlog

from clipsearch.serving.errors import CollectionDamaged, NotFound, ServiceError, Unavailable
from search_service.breaker import Breaker
from search_service.stores.edge.codec import ShardInfo
from search_service.stores.edge.process import Children, EngineFailed, EngineProcess, EngineStopped

_log = structlog.get_logger(__name__)
_PING_S = 1.0
_START_S = 60.0  # for an engine that is started while the collection is closed
_AGAIN_S = 30.0  # after which another engine may try to open files that one could not
_DEATHS = 2  # of engines, one after the other, that were opening the files: then it is the files
_ONCE = frozenset({"delete"})  # its answer, how many points are gone, would be that of the second time


class Supervisor:
    """Of the collection in `folder`. Whoever holds `writing` knows that the shard stands still.

    `on_start` hears how many points there are whenever an engine has opened the shard. `spare` is an
    engine with nothing open, to be used first.
    """

    def __init__(
        self,
        folder: Path,
        shard: str,
        children: Children,
        on_start: Callable[[int], None],
        spare: EngineProcess | None = None,
    ) -> None:
        self.folder = folder
        self.shard = shard
        self.children = children
        self.writing = asyncio.Lock()
        self.closed = False
        self._on_start = on_start
        self._spare = spare
        self._breaker = Breaker("store")
        self._engine: EngineProcess | None = None
        self._starting: asyncio.Task[EngineProcess] | None = None
        self._damage = ""
        self._damage_seen_at = 0.0
        self._deaths = 0

    async def engine(self) -> EngineProcess:
        """The engine, started if it is not running. Raises NotFound once the collection is closed."""
        if self.closed:
            raise self.gone()
        if self._engine is not None and self.running:
            return self._engine
        if self.damage:
            raise CollectionDamaged(self.folder.name, self.damage)
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
            self._starting.add_done_callback(self._started)
        starting = self._starting
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            if starting.cancelled():  # not the caller
                raise self.gone() from None
            raise

    async def ask(self, method: str, *arguments: Any, deadline: float) -> Any:
        """What `method` of the engine answers. If the engine dies, what may be done twice is asked again."""
        try:
            return await (await self.engine()).call(method, *arguments, deadline=deadline)
        except EngineStopped:
            if method in _ONCE:
                raise
            return await (await self.engine()).call(method, *arguments, deadline=deadline)

    def guard(self) -> AbstractAsyncContextManager[None]:
        """About a caller's request: refused while the engine is stuck."""
        return self._breaker.call()

    @property
    def running(self) -> bool:
        """Whether the engine runs; if not, it is started when needed."""
        return self._engine is not None and self._engine.alive

    @property
    def damage(self) -> str:
        """Why the engine could not open the files, if it could not a moment ago; "" = nothing is known."""
        return self._damage if time.monotonic() < self._damage_seen_at + _AGAIN_S else ""

    def gone(self) -> NotFound:
        """What callers of a closed collection are told."""
        return NotFound("collection", self.folder.name)

    async def ping(self) -> None:
        """Returns if the engine answers, is at work or does not run; while it is stuck, calls are refused.

        Raises Unavailable.
        """
        async with self._breaker.probe():
            if self._engine is not None and self.running and not await self._engine.responds(_PING_S):
                raise Unavailable("store", f"the engine of collection {self.folder.name!r} does not answer")

    def swap(self, engine: EngineProcess, shard: str) -> None:
        """Puts another engine and shard into service; the caller holds `writing`."""
        self._engine, self.shard = engine, shard

    async def stop(self) -> None:
        """Lets the engine answer what it was asked, flush and end."""
        if self._starting is not None:  # somebody waits for it
            await asyncio.wait([self._starting], timeout=_START_S)
        await ended(self._starting)
        async with self.writing:
            for engine in (self._engine, self._spare):
                if engine is not None:
                    await engine.stop()

    async def kill(self) -> None:
        """Ends the engine at once."""
        for engine in (self._engine, self._spare):
            if engine is not None:
                await engine.kill()
        await ended(self._starting)

    async def _start(self) -> EngineProcess:
        died = self._engine
        if died is not None:  # its process is still to be laid to rest
            _log.warning("an engine has died and is started again", collection=self.folder.name)
            await died.stop()
        engine, self._spare = self._spare or await EngineProcess.start(self.children), None
        try:
            if self._engine is died:
                await engine.call("open", self.folder, self.shard)
                info: ShardInfo = await engine.call("info")
            if self._engine is died:
                self._engine = engine
                self._damage, self._deaths = "", 0
                self._on_start(info.points)
        except (EngineFailed, ServiceError) as error:
            if self._engine is died:
                raise error if self.closed else self._not_opened(error) from error
        finally:
            if self._engine is not engine:
                await engine.kill()
        assert self._engine is not None  # if it is another, a new index has come into service meanwhile
        return self._engine

    def _started(self, task: asyncio.Task[EngineProcess]) -> None:
        self._starting = None
        if not task.cancelled():
            task.exception()  # seen by those who wait, if any do still

    def _not_opened(self, error: EngineFailed | ServiceError) -> EngineFailed | ServiceError:
        """What to tell the caller."""
        died = isinstance(error, EngineStopped)
        self._deaths += died
        if not isinstance(error, EngineFailed | Unavailable) or (died and self._deaths < _DEATHS):
            return error
        why = "the engine died of it" if died else str(error)
        why = why.replace(str(self.folder), "").partition("\n")[0][:300]
        self._damage = f"{self.folder.parent.name}/{self.folder.name}/{self.shard} cannot be opened: {why}"
        self._damage_seen_at = time.monotonic()
        _log.error("a collection is damaged", collection=self.folder.name, damage=self._damage)
        return CollectionDamaged(self.folder.name, self._damage)


async def ended(task: asyncio.Task[Any] | None) -> None:
    """Cancels a task and waits until it has ended."""
    if task is not None:
        task.cancel()
        await asyncio.wait([task])
