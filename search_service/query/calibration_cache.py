"""Keeps the calibration of each collection: measured after writes, in the background, and kept by the store.

It is measured when the collection has its first vectors of a name, and anew when a name's vectors have
become twice or half as many: once nothing is written for a moment, or half a minute has passed, or when a
search needs it, which waits. Measured at each doubling while its writers waited, it took half of the time
of a load of 8,192 points on a Qdrant server. While nothing is written no score changes. What is measured
depends on the points alone, so replicas of the service find the same.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping
from contextvars import Context
from dataclasses import dataclass
from typing import Any

import structlog

from clipsearch.serving.errors import NotFound, ServiceError
from search_service.deadline import store_within
from search_service.query.calibration import SAMPLE, Calibration, measure
from search_service.stores.protocol import (
    VECTOR_NAMES,
    VectorName,
    VectorSample,
    VectorStore,
)

_LONGEST_LOAD_S = 30.0
_CLOSED_WITHIN_S = 2.0
_KEPT_WITHIN_S = 2.0
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Collection:
    """What is known of one."""

    read: Any = None  # as the store kept it when it was asked last,
    calibration: Calibration | None = None  # and what that says
    unkept: Calibration | None = None  # a newer one, which the store could not take
    written: int = 0  # points, since vectors were last counted,
    room: int = 0  # and how many it would have taken then to double or halve them
    timer: asyncio.TimerHandle | None = None  # it is due, and measured when a moment has passed;
    postponed_since: float = 0.0  # this was so for the first time
    failed: bool = False
    counted: bool = False  # in this process,
    empty: frozenset[VectorName] = frozenset()  # and what had no vectors then, and has got none since
    task: asyncio.Task[None] | None = None

    def stop_timer(self) -> None:
        """It is not measured by itself any more."""
        if self.timer is not None:
            self.timer.cancel()
        self.timer = None


class CalibrationCache:
    """The calibrations of the collections of `store`.

    What was written is measured when nothing has been written for `quiet_s`.
    """

    def __init__(self, store: VectorStore, *, quiet_s: float = 0.1) -> None:
        self._store = store
        self._quiet_s = quiet_s
        self._known: defaultdict[str, _Collection] = defaultdict(_Collection)

    async def get(self, collection: str) -> Calibration | None:
        """The calibration; None for a collection without vectors. Raises what the store does."""
        for _ in range(2):  # what is measured may be of before the last writes; no more, under a long load
            known = self._known[collection]
            if (known.timer or known.failed) and known.task is None:
                self._start(collection, force=False)
            if known.task is not None:
                await asyncio.wait([known.task])
        kept = await self._kept(collection)
        if kept is None:
            return await self.renew(collection)
        known = self._known[collection]
        if not (kept.both or known.counted or known.task or self._store.shared):
            self._start(collection, force=False)  # it may be of before a crash
        return kept

    async def counts(self, collection: str) -> Mapping[VectorName, int]:
        """By name, about how many vectors there are; nothing if that is not known yet.

        Raises what the store does.
        """
        kept = await self._kept(collection)
        return kept.counts if kept is not None else {}

    def empty(self, collection: str) -> frozenset[VectorName]:
        """The names of which the collection has no vectors; nothing is known where others write too."""
        return frozenset() if self._store.shared else self._known[collection].empty

    async def sample(self, collection: str, name: VectorName) -> VectorSample:
        """Vectors of a name, of all that the collection holds, whoever asks."""
        return await self._store.sample(collection, name, SAMPLE)

    async def renew(self, collection: str) -> Calibration | None:
        """Measures it anew."""
        if task := self._known[collection].task:
            await asyncio.wait([task])
        await asyncio.shield(self._known[collection].task or self._start(collection, force=True))
        return await self._kept(collection)

    def wrote(self, collection: str, points: int, names: Collection[VectorName] = ()) -> None:
        """To be told after every write: how many points, with vectors of which names. Returns at once."""
        known = self._known[collection]
        known.written += points
        known.empty -= frozenset(names)
        if known.timer is not None:
            if _now() - known.postponed_since < _LONGEST_LOAD_S:
                self._measure_soon(collection)
        elif _is_due(known, names):
            known.postponed_since = _now()
            self._measure_soon(collection)

    async def close(self) -> None:
        """Measures what is due, within two seconds, and ends what goes on."""
        for collection, known in self._known.items():
            if known.timer is not None and known.task is None:
                self._start(collection, force=False)
            known.stop_timer()
        if tasks := [known.task for known in self._known.values() if known.task is not None]:
            await asyncio.wait(tasks, timeout=_CLOSED_WITHIN_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _measure_soon(self, collection: str) -> None:
        known = self._known[collection]
        known.stop_timer()
        loop = asyncio.get_running_loop()
        known.timer = loop.call_later(self._quiet_s, self._moment_passed, collection)

    def _moment_passed(self, collection: str) -> None:
        if self._known[collection].task is not None:  # which may not have seen the last writes
            self._measure_soon(collection)
        else:
            self._start(collection, force=False)

    def _start(self, collection: str, *, force: bool) -> asyncio.Task[None]:
        known = self._known[collection]
        known.stop_timer()
        known.failed = False
        # In a context of its own: it is nobody's call, and bound by nobody's deadline.
        known.task = asyncio.create_task(self._measure(collection, force), context=Context())
        known.task.add_done_callback(lambda task: self._ended(collection, known, task))
        return known.task

    def _ended(self, collection: str, known: _Collection, task: asyncio.Task[None]) -> None:
        known.task = None
        error = None if task.cancelled() else task.exception()
        if isinstance(error, NotFound):
            known.stop_timer()
            if self._known.get(collection) is known:
                del self._known[collection]
        elif isinstance(error, ServiceError):
            known.failed = True  # the next search tries again
            _log.debug("a collection was not calibrated", collection=collection, problem=error.message)
        elif error is not None:
            _log.error("a collection was not calibrated", collection=collection, exc_info=error)

    async def _measure(self, collection: str, force: bool) -> None:
        known = self._known[collection]
        written = known.written
        before = await self._kept(collection)
        info = await self._store.get_collection(collection)
        counts: dict[VectorName, int] = {"image": info.image_vectors, "text": info.text_vectors}
        known.counted = True
        if known.written == written:  # nothing came meanwhile
            known.empty = frozenset(name for name in VECTOR_NAMES if not counts[name])
        known.written -= written
        if before is not None:
            known.room = _room(before, counts)
        if not any(counts.values()) or not (force or before is None or _changed(before, counts)):
            return
        samples = {name: await self.sample(collection, name) for name in VECTOR_NAMES}
        known.unkept = measured = await asyncio.to_thread(measure, samples, counts)
        known.room = _room(measured, counts)
        try:
            # A cluster of which most nodes are away can be searched, and keeps nothing.
            async with store_within(_KEPT_WITHIN_S):
                await self._store.set_calibration(collection, measured.to_json())
        except NotFound:
            raise
        except ServiceError as error:
            _log.warning("a calibration was not kept", collection=collection, problem=error.message)
        else:
            known.calibration, known.unkept = measured, None

    async def _kept(self, collection: str) -> Calibration | None:
        known = self._known[collection]
        if known.unkept is not None:
            return known.unkept
        read = await self._store.calibration(collection)
        if read is None:
            known.calibration = None
        elif read is not known.read:
            try:
                known.calibration = Calibration.from_json(read)
            except (KeyError, TypeError, ValueError):  # of another version: measured anew
                known.calibration = None
        known.read = read
        return known.calibration


def _is_due(known: _Collection, names: Collection[VectorName]) -> bool:
    """Whether so much was written that it is worth counting vectors. Others may write as well."""
    if known.calibration is None or any(not known.calibration.counts[name] for name in names):
        return True
    return 2 * known.written >= known.room


def _now() -> float:
    return asyncio.get_running_loop().time()


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
