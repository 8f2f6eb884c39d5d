"""From a backup into a collection that it makes, or that holds nothing else.

All of the backup is read and compared with its checksums before anything is written, and all that was
written is read and compared with the backup before it is called done. Nothing is kept on this side: a
collection that holds a part of the backup, and nothing else, is an interrupted restore, which goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from clipsearch.backup.archive import Archive
from clipsearch.backup.manifest import BackupError, Manifest, Part
from clipsearch.backup.parts import Row, decode, row_of
from clipsearch.batches import batched
from clipsearch.client.aio import AsyncClient
from clipsearch.client.errors import ArgumentError, ClipSearchError
from clipsearch.client.inputs import CollectionOptions
from clipsearch.client.retrying import Retrying, reason, side_by_side
from clipsearch.client.types import Collection, UpsertResult

_BATCH = 256
_BATCH_BYTES = 8 << 20
_CONCURRENT = 3
# What a Qdrant server is set up for, and nothing elsewhere.
_NO_CLUSTER: CollectionOptions = {"shard_number": 0, "replication_factor": 0, "write_consistency_factor": 0}


@dataclass(frozen=True, slots=True)
class Restored:
    """What was restored. `already`: points that were there from an interrupted run, of `points`.

    `aliases` lead to the collection now; `taken` lead elsewhere, by alias, and were left there.
    `without_cluster`: shards and replicas were left out, for want of a Qdrant server.
    """

    collection: Collection
    points: int
    already: int
    aliases: tuple[str, ...]
    taken: dict[str, str]
    without_cluster: bool


@dataclass(eq=False)
class Restore:
    """Restores the backup at `path` as the collection `to` ("" = the name that it had).

    `on_progress` is called with a step's name, and its points done and to do. Memory holds a part.
    """

    client: AsyncClient
    path: Path
    to: str = ""
    on_progress: Callable[[str, int, int], None] = lambda step, done, total: None
    _calls: Retrying = field(init=False, default_factory=Retrying)
    _without_cluster: bool = field(init=False, default=False)

    async def run(self) -> Restored:
        """Works until all is there and compared. Raises BackupError, ClipSearchError and OSError."""
        with await asyncio.to_thread(Archive, self.path) as archive:
            said = await asyncio.to_thread(archive.manifest)
            if not said.finished:
                raise BackupError(f"{self.path} is not finished; run the backup again, it goes on")
            said.options()
            name = self.to or said.collection
            await self._find(name)  # a wrong address is told at once
            await asyncio.to_thread(self._check, archive, said)
            self._calls.renew()  # that may have taken hours
            collection = await self._collection(said, name)
            there = await self._there(archive, said, name) if collection.points else {}
            await self._write(archive, said, name, there)
            await self._verify(archive, said, name)
        aliases, taken = await self._alias(said, name)
        return Restored(
            await self._calls.make(partial(self.client.get_collection, name)),
            said.points,
            sum(there.values()),
            aliases,
            taken,
            self._without_cluster,
        )

    def _check(self, archive: Archive, said: Manifest) -> None:
        """Reads all parts. Raises BackupError for the first that is not as it was written."""
        done = 0
        for part in said.parts:
            rows = decode(archive.read(part), said.dimension, part.file)
            if len(rows) != part.points:
                raise BackupError(f"{self.path}: {part.file} has {len(rows)} points, not {part.points}")
            done += len(rows)
            self.on_progress("checking", done, said.points)

    async def _collection(self, said: Manifest, name: str) -> Collection:
        """The collection to fill: made like that of the backup, or found, and of the same model."""
        found = await self._calls.make(partial(self._find, name))
        if found is None:
            return await self._make(said, name)
        if found.name != name:
            raise BackupError(f"{name!r} is an alias of {found.name!r}; restore under another name with --to")
        if (found.fingerprint, found.dimension) != (said.fingerprint, said.dimension):
            raise BackupError(
                f"there is a collection {name!r} of another model ({found.fingerprint}, not "
                f"{said.fingerprint}); restore under another name with --to"
            )
        if found.successor:
            raise BackupError(f"{name!r} has the successor {found.successor!r}; remove that link first")
        return found

    async def _find(self, name: str) -> Collection | None:
        try:
            return await self.client.get_collection(name)
        except ClipSearchError as error:
            if error.code != "NOT_FOUND":
                raise
            return None

    async def _make(self, said: Manifest, name: str) -> Collection:
        options = said.options()
        copies = options["replication_factor"], options["write_consistency_factor"]
        if (options["shard_number"], *copies) == (1, 1, 1):  # as Qdrant Edge says of all
            options = {**options, **_NO_CLUSTER}
        try:
            return await self.client.create_collection(name, **options)
        except ClipSearchError as error:
            if error.reason != "NEEDS_QDRANT_SERVER":
                raise
        self._without_cluster = True
        options = {**options, **_NO_CLUSTER}
        return await self.client.create_collection(name, **options)

    async def _there(self, archive: Archive, said: Manifest, name: str) -> dict[Part, int]:
        """The points that the collection has, by part. Raises BackupError if it has others."""
        there: dict[Part, int] = {}
        other = "restore under another name with --to, or delete it first"
        for part in said.parts:
            rows = await self._rows(archive, said, part)
            await self._bare(rows, said, name)  # what a restore that was stopped has left
            found, differing = await self._compare(rows, name)
            if differing:
                raise BackupError(f"{name!r} is not empty: {differing!r} is not as in the backup; {other}")
            there[part] = found
            self.on_progress("looking what is there", sum(there.values()), said.points)
        more = await self._count(name) - sum(there.values())
        if more > 0:
            raise BackupError(f"{name!r} is not empty: {more:,} of its points are not in the backup; {other}")
        return there

    async def _write(self, archive: Archive, said: Manifest, name: str, there: dict[Part, int]) -> None:
        done = sum(there.values())

        async def write(batch: Sequence[Row]) -> None:
            nonlocal done
            written = await self._send(batch, said, name)
            done += written
            self.on_progress("restoring", done, said.points)

        for part in said.parts:
            if there.get(part, 0) == part.points:
                continue
            await side_by_side(_batches(await self._rows(archive, said, part)), write, _CONCURRENT)

    async def _send(self, rows: Sequence[Row], said: Manifest, name: str) -> int:
        """Writes those that are not there; returns how many."""
        written = 0

        async def insert(rows: Sequence[Row]) -> list[UpsertResult]:
            # A point without any vector can be kept, and not written: it gets one, and loses it again.
            whole = [_stood_in(row, said.dimension) if row.bare else row for row in rows]
            points = [row.to_point() for row in whole]
            try:
                results = await self.client.upsert(
                    name, points, insert_only=True, fingerprint=said.fingerprint
                )
            except ArgumentError as error:  # deeper than a client sends
                raise BackupError(f"cannot be written: {error}") from None
            await self._bare(rows, said, name)
            return results

        def note(row: Row, result: UpsertResult) -> None:
            nonlocal written
            written += not result.skipped

        def refuse(row: Row, error: ClipSearchError) -> None:
            raise BackupError(
                f"{row.id!r} cannot be written: {reason(error)}; once the service takes it run this again"
            )

        await self._calls.write(rows, insert, written=note, failed=refuse)
        return written

    async def _bare(self, rows: Sequence[Row], said: Manifest, name: str) -> None:
        """Takes away what stands in for vectors that rows do not have; a point of another writer stays.

        Only what that one writes between the reading and the removal could lose its image vector.
        """
        for batch in _batches([row for row in rows if row.bare]):
            wanted = {row.id: _stood_in(row, said.dimension) for row in batch}
            ask = partial(self.client.get_points, name, list(wanted), with_vectors=True)
            found = await self._calls.make(ask)
            ids = [point.id for point in found if row_of(point) == wanted[point.id]]
            if ids:
                await self._calls.make(partial(self.client.delete_vectors, name, ids, vectors=["image"]))

    async def _verify(self, archive: Archive, said: Manifest, name: str) -> None:
        """Raises BackupError unless the collection is what the backup is, to the last bit."""
        done = 0
        for part in said.parts:
            found, differing = await self._compare(await self._rows(archive, said, part), name)
            if differing or found < part.points:
                what = f"{differing!r} is not as in the backup" if differing else "points are missing"
                raise BackupError(f"{name!r} is not what was backed up: {what}; does somebody write to it?")
            done += found
            self.on_progress("comparing", done, said.points)
        if (count := await self._count(name)) != said.points:
            raise BackupError(f"{name!r} holds {count:,} points, the backup {said.points:,}")

    async def _compare(self, rows: Sequence[Row], name: str) -> tuple[int, str]:
        """How many of these points the collection has, and one that differs there ("" = none)."""
        found = 0
        for batch in _batches(rows):
            wanted = {row.id: row for row in batch}
            ask = partial(self.client.get_points, name, list(wanted), with_vectors=True)
            for point in await self._calls.make(ask):
                if row_of(point) != wanted[point.id]:
                    return found, point.id
                found += 1
        return found, ""

    async def _rows(self, archive: Archive, said: Manifest, part: Part) -> list[Row]:
        return await asyncio.to_thread(lambda: decode(archive.read(part), said.dimension, part.file))

    async def _count(self, name: str) -> int:
        return await self._calls.make(partial(self.client.count, name))

    async def _alias(self, said: Manifest, name: str) -> tuple[tuple[str, ...], dict[str, str]]:
        """Sets the aliases that lead nowhere; others may be in use. Returns those that lead here, and not."""
        here, taken = [], {}
        for alias in said.aliases:
            try:
                leads_to = (await self._calls.make(partial(self.client.get_collection, alias))).name
            except ClipSearchError as error:
                if error.code != "NOT_FOUND":
                    raise
                await self.client.update_alias(alias, name)
                leads_to = name
            if leads_to == name:
                here.append(alias)
            else:
                taken[alias] = leads_to
        return tuple(here), taken


def _batches(rows: Sequence[Row]) -> Iterator[list[Row]]:
    return batched(rows, _BATCH, _BATCH_BYTES, lambda row: row.size)


def _stood_in(row: Row, dimension: int) -> Row:
    """A row without vectors, with one that stands in until the point is written."""
    return replace(row, image_vector=np.eye(1, dimension, dtype=np.float32).tobytes())
