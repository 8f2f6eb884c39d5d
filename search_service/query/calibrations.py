"""Keeps the calibration of each collection: measured after writes, in the background, and kept by the store.

It is measured when the collection has its first vectors of a name, and anew when a name's vectors have
become twice or half as many: once nothing is written for a moment (or half a minute has passed), or when a
search needs it, which waits.
Under a load of writes alone it would be measured again and again for nobody (a third of the load's time).
While nothing is written no score changes. What is measured depends on the points alone, so replicas of the
service find the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

import structlog

from clipsearch.serving.errors import NotFound, ServiceError
from search_service.query.calibration import SAMPLE, Calibration, measure
from search_service.stores.protocol import VECTOR_NAMES, VectorName, VectorStore

_LONGEST_LOAD_S = 30.0
_CLOSED_WITHIN_S = 2.0
_KEPT_WITHIN_S = 2.0
_log = structlog.get_logger(__name__)


class Calibrations:
    """Calibrations of the collections of `store`; one answer of it may take `timeout_s`.

    What was written is measured when nothing has been written for `quiet_s`.
    """

    def __init__(self, store: VectorStore, timeout_s: float, quiet_s: float = 0.1) -> None:
        self._store = store
        self._timeout_s = timeout_s
        self._quiet_s = quiet_s
        self._read: dict[str, tuple[Any, Calibration | None]] = {}
        self._due: dict[str, asyncio.TimerHandle] = {}  # to be measured when a moment has passed,
        self._since: dict[str, float] = {}  # as is known since then
        self._failed: set[str] = set()
        self._unkept: dict[str, Calibration] = {}  # which the store could not take
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._written: dict[str, int] = {}  # points, since vectors were last counted,
        self._room: dict[str, int] = {}  # and how many it would have taken then to double or halve them

    async def get(self, collection: str) -> Calibration | None:
        """The calibration; None for a collection without vectors. Raises what the store does."""
        for _ in range(2):  # what is measured may be of before the last writes; no more, under a long load
            if (collection in self._due or collection in self._failed) and collection not in self._tasks:
                self._start(collection, force=False)
            if task := self._tasks.get(collection):
                await asyncio.wait([task])
        kept = await self._kept(collection)
        return kept if kept is not None else await self.renew(collection)

    async def renew(self, collection: str) -> Calibration | None:
        """Measures it anew."""
        if task := self._tasks.get(collection):
            await asyncio.wait([task])
        await asyncio.shield(self._tasks.get(collection) or self._start(collection, force=True))
        return await self._kept(collection)

    def wrote(self, collection: str, points: int, names: Collection[VectorName] = ()) -> None:
        """To be told after every write: how many points, with vectors of which names. Returns at once."""
        self._written[collection] = self._written.get(collection, 0) + points
        if collection in self._due or self._is_due(collection, names):
            self._postpone(collection)

    async def close(self) -> None:
        """Measures what is due, within two seconds, and ends what goes on."""
        for collection in [name for name in self._due if name not in self._tasks]:
            self._start(collection, force=False)
        for timer in self._due.values():
            timer.cancel()
        self._due.clear()
        if tasks := list(self._tasks.values()):
            await asyncio.wait(tasks, timeout=_CLOSED_WITHIN_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _is_due(self, collection: str, names: Collection[VectorName]) -> bool:
        """Whether so much was written that it is worth counting vectors. Others may write as well."""
        _, known = self._read.get(collection, (None, None))
        if known is None or any(not known.counts[name] for name in names):
            return True
        return 2 * self._written.get(collection, 0) >= self._room.get(collection, 0)

    def _postpone(self, collection: str) -> None:
        loop = asyncio.get_running_loop()
        if timer := self._due.get(collection):
            if loop.time() - self._since.setdefault(collection, loop.time()) > _LONGEST_LOAD_S:
                return
            timer.cancel()
        self._due[collection] = loop.call_later(self._quiet_s, self._moment_passed, collection)

    def _moment_passed(self, collection: str) -> None:
        self._since.pop(collection, None)
        if collection in self._tasks:  # which may not have seen the last writes
            self._postpone(collection)
        else:
            self._start(collection, force=False)

    def _start(self, collection: str, *, force: bool) -> asyncio.Task[None]:
        if timer := self._due.pop(collection, None):
            timer.cancel()
        self._since.pop(collection, None)
        self._failed.discard(collection)
        task = asyncio.create_task(self._measure(collection, force))
        self._tasks[collection] = task
        task.add_done_callback(lambda done: self._ended(collection, done))
        return task

    def _ended(self, collection: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(collection) is task:
            del self._tasks[collection]
        error = None if task.cancelled() else task.exception()
        if isinstance(error, ServiceError):
            self._failed.add(collection)  # the next search tries again
            _log.debug("a collection was not calibrated", collection=collection, problem=error.message)
        elif error is not None:
            _log.error("a collection was not calibrated", collection=collection, exc_info=error)

    async def _measure(self, collection: str, force: bool) -> None:
        written = self._written.get(collection, 0)
        try:
            known = await self._kept(collection)
            info = await self._store.get_collection(collection, timeout=self._timeout_s)
            counts: dict[VectorName, int] = {"image": info.image_vectors, "text": info.text_vectors}
            self._written[collection] = self._written.get(collection, 0) - written
            if known is not None:
                self._room[collection] = _room(known, counts)
            if not any(counts.values()) or not (force or known is None or _changed(known, counts)):
                return
            samples = {
                name: await self._store.sample(collection, name, SAMPLE, timeout=self._timeout_s)
                for name in VECTOR_NAMES
            }
            measured = await asyncio.to_thread(measure, samples, counts)
            self._unkept[collection] = measured
            self._room[collection] = _room(measured, counts)
            try:
                # A cluster of which most nodes are away can be searched, and keeps nothing.
                await self._store.set_calibration(collection, measured.to_json(), timeout=_KEPT_WITHIN_S)
            except NotFound:
                raise
            except ServiceError as error:
                _log.warning("a calibration was not kept", collection=collection, problem=error.message)
            else:
                del self._unkept[collection]
        except NotFound:
            self._read.pop(collection, None)
            self._written.pop(collection, None)
            self._room.pop(collection, None)
            self._unkept.pop(collection, None)

    async def _kept(self, collection: str) -> Calibration | None:
        if collection in self._unkept:
            return self._unkept[collection]
        kept = await self._store.calibration(collection, timeout=self._timeout_s)
        read, calibration = self._read.get(collection, (None, None))
        if kept is None:
            self._read.pop(collection, None)
            return None
        if kept is not read:
            try:
                calibration = Calibration.from_json(kept)
            except (KeyError, TypeError, ValueError):  # of another version: measured anew
                calibration = None
            self._read[collection] = kept, calibration
        return calibration


def _room(known: Calibration, counts: dict[VectorName, int]) -> int:
    """The fewest points, written or deleted, after which a name's vectors may be twice or half as many."""
    return min(
        (
            room
            for name in VECTOR_NAMES
            if known.counts[name]
            for room in (2 * known.counts[name] - counts[name], counts[name] - known.counts[name] // 2)
        ),
        default=0,
    )


def _changed(known: Calibration, counts: dict[VectorName, int]) -> bool:
    """Whether a name's vectors have become twice or half as many."""
    return any(
        2 * min(known.counts[name], counts[name]) <= max(known.counts[name], counts[name]) > 0
        for name in VECTOR_NAMES
    )
