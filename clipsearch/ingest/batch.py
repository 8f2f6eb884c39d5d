"""One batch of items: what of it is there, what is written, and what shares a point with another.

Before a batch is sent the service is asked which of its points are there as they should be:

- an image of a folder is known by the hash of its content, a row without an id by that of all it holds;
- a row with an id is the same if `content_hash` in the stored payload is;
- an item that the checkpoint calls finished only has to be there, with the vectors that it was given.

Where only the payload differs, the vectors that are there are written back with the new one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from clipsearch.client.aio import AsyncClient
from clipsearch.client.errors import ArgumentError, ClipSearchError
from clipsearch.client.inputs import Point
from clipsearch.client.retrying import Retrying, is_about_content, reason
from clipsearch.client.types import CONTENT_HASH, Collection, StoredPoint, UpsertResult
from clipsearch.ingest.checkpoint import Checkpoint
from clipsearch.ingest.congestion import CongestionControl
from clipsearch.ingest.leftovers import Leftovers, Met
from clipsearch.ingest.points import (
    COMPARED,
    Changes,
    changed,
    image_changes,
    is_listed,
    is_spoilt,
    kept_lists,
    new_copies,
    row_changes,
    to_point,
)
from clipsearch.ingest.progress import Failure, Tally
from clipsearch.ingest.source import Item, path_text

_TOO_MANY = "COUNT_OUT_OF_RANGE"
_NO_ROOM = "RESOURCE_EXHAUSTED"


@dataclass(frozen=True, slots=True)
class _Job:
    """A point, and the items that share it; `counts` the first of them as something else than merged.

    `again`: it is there as this row of this list, but for its vectors; it replaces no other.
    """

    items: list[Item]
    point: Point
    counts: bool = True
    again: bool = False


_Stored = dict[str, StoredPoint]


@dataclass(eq=False)
class Batches:
    """Indexes batches, several at a time; no point is in two of them at once."""

    client: AsyncClient
    calls: Retrying
    collection: Collection
    fingerprint: str
    congestion: CongestionControl
    tally: Tally
    leftovers: Leftovers | None
    _met: set[int] = field(init=False, default_factory=set)
    _in_flight: set[str] = field(init=False, default_factory=set)
    _released: asyncio.Event = field(init=False, default_factory=asyncio.Event)

    async def index(self, batch: Sequence[Item], finished: Checkpoint | tuple[()]) -> None:
        """Deals with every item of the batch; `finished` are the positions that a checkpoint calls so.

        Raises ClipSearchError where the run cannot go on.
        """
        known = [item for item in batch if item.position in finished]
        ids = {item.id for item in known if item.id and not item.problem}
        stored = await self._stored(ids, [CONTENT_HASH])
        there = {id for id, point in stored.items() if not is_spoilt(point.payload)}
        left = []
        for item in batch:
            if item.repeated and not item.problem:
                self.tally.counts["merged"] += 1
                self._note(item, item.id, Met.THERE)
            elif item.id in there:
                self.tally.counts["already"] += 1
                self._note(item, item.id, Met.THERE)
            else:
                left.append(item)
        read, failures = await asyncio.to_thread(_read, left)
        for item, why in failures:
            self.tally.failure(Failure(item.place, why, item.id))
            self._note(item, None, Met.FAILED)
        while read:
            read = await self._round(read)

    async def change(self, wanted: Sequence[tuple[str, Changes]]) -> None:
        """Writes other payloads to points that are there; nothing is encoded.

        A successor could not take the vectors: with one, payloads stay as they are.
        """
        if not wanted or self.collection.successor:
            return
        there = await self._with_vectors([id for id, _ in wanted])
        rows = [
            _Job([], there[id].to_point(changed(there[id].payload, changes)))
            for id, changes in wanted
            if id in there
        ]
        await self.calls.write(rows, self._send, written=lambda *_: None, failed=lambda *_: None)

    async def delete(self, ids: Sequence[str]) -> int:
        """Deletes points; returns how many there were."""
        if not ids:
            return 0
        return await self.calls.make(partial(self.client.delete_points, self.collection.name, ids))

    async def _round(self, read: Iterable[_Job]) -> list[_Job]:
        """Deals with the points that no other batch has in hand; returns the rest."""
        mine: dict[str, _Job] = {}
        others: list[_Job] = []
        for one in read:
            if one.point.id in self._in_flight:
                others.append(one)
            elif one.point.id in mine:
                mine[one.point.id].items.extend(one.items)
            else:
                mine[one.point.id] = one
        if not mine:
            self._released.clear()
            await self._released.wait()
            return others
        self._in_flight |= mine.keys()
        try:
            await self._deal_with(mine)
        finally:
            self._in_flight -= mine.keys()
            self._released.set()
        return others

    async def _deal_with(self, jobs: dict[str, _Job]) -> None:
        # Ready vectors with ids are sent unasked: nothing is encoded for them.
        asked = [id for id, job in jobs.items() if job.items[0].id is None or job.items[0].is_encoded]
        stored = await self._stored(asked, COMPARED)
        decided = await asyncio.to_thread(_decide, jobs, stored)
        fresh = []
        updates: list[tuple[_Job, Changes]] = []
        for id, job in jobs.items():
            changes = decided[id]
            if changes is None:
                paths = [item.path for item in job.items if item.path is not None]
                copies = new_copies(paths) if _is_image(job.items[0]) else {}
                before = stored[id].payload if id in stored else {}
                lists = kept_lists(job.point, before)
                point = replace(job.point, payload=changed(job.point.payload, {**copies, **lists}))
                fresh.append(_Job(job.items, point, again=bool(lists) and is_listed(job.point, before)))
                continue
            known, named = stored[id].payload.get("path"), [item.payload.get("path") for item in job.items]
            counts = not _is_image(job.items[0]) or "path" in changes or known in named
            there = replace(job, counts=counts and hash(id) not in self._met)
            if changes:
                updates.append((there, changes))
            else:
                self._remember(there)
                self._done(there, "already", Met.THERE)
        fresh += await self._update(updates)
        await self.calls.write(fresh, self._upsert, written=self._written, failed=self._failed)

    async def _update(self, updates: Sequence[tuple[_Job, Changes]]) -> list[_Job]:
        """Writes new payloads; returns those that have to be written whole."""
        if not updates:
            return []
        there = await self._with_vectors([job.point.id for job, _ in updates])
        rows, whole = list[_Job](), list[_Job]()
        for job, changes in updates:
            stored = there.get(job.point.id)
            if stored is None:
                whole.append(replace(job, counts=True))
            elif self.collection.successor:  # which must encode it for itself
                whole.append(replace(job, point=replace(job.point, payload=changed(stored.payload, changes))))
            else:
                rows.append(replace(job, point=stored.to_point(changed(stored.payload, changes))))
        await self.calls.write(rows, self._send, written=self._updated, failed=self._failed)
        return whole

    async def _stored(self, ids: Iterable[str], fields: Sequence[str]) -> _Stored:
        """Those of the ids that are there. An id that the service refuses is not: writing says why."""
        wanted = list(ids)
        if not wanted:
            return {}
        ask = partial(self.client.get_points, self.collection.name, wanted, payload=list(fields))
        try:
            return {point.id: point for point in await self.calls.make(ask)}
        except ClipSearchError as error:
            if not is_about_content(error):
                raise
            if len(wanted) == 1:
                return {}
        middle = len(wanted) // 2
        return {
            **await self._stored(wanted[:middle], fields),
            **await self._stored(wanted[middle:], fields),
        }

    async def _with_vectors(self, ids: Sequence[str]) -> _Stored:
        ask = partial(self.client.get_points, self.collection.name, ids, with_vectors=True)
        return {point.id: point for point in await self.calls.make(ask)}

    async def _upsert(self, jobs: Sequence[_Job]) -> list[UpsertResult]:
        """One call; the flow hears how it went."""
        started = time.monotonic()
        try:
            results = await self._send(jobs)
        except ClipSearchError as error:
            if error.reason == _TOO_MANY:
                self.congestion.too_many(len(jobs))
            raise
        if all(result.error is None or result.error.code != _NO_ROOM for result in results):
            self.congestion.answered(len(jobs), time.monotonic() - started)
        return results

    async def _send(self, jobs: Sequence[_Job]) -> list[UpsertResult]:
        points = [job.point for job in jobs]
        try:
            return await self.client.upsert(self.collection.name, points, fingerprint=self.fingerprint)
        except ArgumentError as error:  # what cannot be put into a request is some point's fault
            raise ClipSearchError("INVALID_ARGUMENT", str(error)) from None

    def _written(self, job: _Job, result: UpsertResult) -> None:
        self._remember(job)
        self._done(job, "indexed", Met.THERE if job.again else Met.WRITTEN)

    def _updated(self, job: _Job, result: UpsertResult) -> None:
        self._done(job, "updated", Met.WRITTEN)

    def _done(self, job: _Job, count: str, met: Met) -> None:
        self.tally.counts[count] += job.counts
        self.tally.counts["merged"] += len(job.items) - job.counts
        for item in job.items:
            self._note(item, job.point.id, met)

    def _failed(self, job: _Job, error: ClipSearchError) -> None:
        for item in job.items:
            self.tally.failure(Failure(item.place, reason(error), job.point.id))
            self._note(item, job.point.id, Met.FAILED)

    def _remember(self, job: _Job) -> None:
        """Ready vectors without ids: only here it is known which of them are met a second time."""
        if job.items[0].id is None and not job.items[0].is_encoded:
            self._met.add(hash(job.point.id))

    def _note(self, item: Item, id: str | None, met: Met) -> None:
        if self.leftovers is not None:
            self.leftovers.note(item, id, met)


def _decide(jobs: dict[str, _Job], stored: _Stored) -> dict[str, Changes | None]:
    """What each payload lacks; None for a point that must be written whole. May read files."""
    decided: dict[str, Changes | None] = {}
    for id, job in jobs.items():
        there = stored.get(id)
        first = job.items[0]
        if there is None:
            decided[id] = None
        elif _is_image(first):
            paths = [item.path for item in job.items if item.path is not None]
            payloads = [item.payload for item in job.items if item.path is not None]
            decided[id] = image_changes(id, paths, payloads, there.payload)
        elif first.id is not None or first.origin:
            decided[id] = row_changes(job.point, there.payload)
        else:
            decided[id] = {}
    return decided


def _is_image(item: Item) -> bool:
    """Whether it is one of a folder's images, whose point says where it stands."""
    return item.id is None and not item.origin and item.path is not None and "path" in item.payload


def _read(items: list[Item]) -> tuple[list[_Job], list[tuple[Item, str]]]:
    read, failures = list[_Job](), list[tuple[Item, str]]()
    for item in items:
        try:
            read.append(_Job([item], to_point(item)))
        except ArgumentError as error:
            failures.append((item, str(error)))
        except RecursionError:
            failures.append((item, "payload: too many lists and dicts inside one another"))
        except OSError as error:
            path, why = path_text(item.path or ""), error.strerror or str(error)
            failures.append((item, why if item.place == path else f"{path}: {why}"))
    return read, failures
