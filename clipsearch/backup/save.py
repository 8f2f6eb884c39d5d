"""From a collection into a backup: pages in the order of the points' UUIDs, a part at a time on the disk.

Writers go on meanwhile. Every point that was there at the start, and that nobody changed until the end,
is in it once, each point whole; of what was written, changed or deleted meanwhile a part may be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from clipsearch.backup.archive import Archive, Writing
from clipsearch.backup.manifest import BackupError, Manifest, part_name, settings_of
from clipsearch.backup.parts import Row, encode, row_of
from clipsearch.client.aio import AsyncClient
from clipsearch.client.retrying import Retrying
from clipsearch.client.types import Collection, StoredPoint

_PART_BYTES = 32 << 20


@dataclass(eq=False)
class Save:
    """Backs a collection, given by name or alias, up to `path`: a new folder, or a file *.tar.

    `on_progress` is called with the points that are in the backup, and those there were at the start. A run
    that was stopped goes on where its last part ends. Memory holds a part, 32 MiB, a few times.
    """

    client: AsyncClient
    collection: str
    path: Path
    on_progress: Callable[[int, int], None] = lambda done, total: None
    _calls: Retrying = field(init=False, default_factory=Retrying)
    _writing: Writing = field(init=False)

    def __post_init__(self) -> None:
        self._writing = Writing(self.path)

    async def run(self) -> Manifest:
        """Works until the last point. Raises BackupError, ClipSearchError and OSError."""
        collection = await self.client.get_collection(self.collection)  # a wrong address is told at once
        said = await asyncio.to_thread(self._go_on, collection)
        if said is None:
            said = Manifest(
                collection=collection.name,
                settings=settings_of(collection),
                aliases=collection.aliases,
                successor=collection.successor,
                started=_now(),
                points_at_start=await self._count(collection.name),
            )
            await asyncio.to_thread(self._writing.write_manifest, said)
        if not said.finished:
            said = await self._read(said)
        await asyncio.to_thread(self._writing.close, said)
        return said

    def _go_on(self, collection: Collection) -> Manifest | None:
        """What the run before has left, its parts looked at again. None = there was none."""
        said = self._writing.begun()
        if said is None:
            return None
        for name, there, here in (
            ("name", said.collection, collection.name),
            ("fingerprint", said.fingerprint, collection.fingerprint),
            ("dimension", said.dimension, collection.dimension),
        ):
            if there != here:
                raise BackupError(
                    f"{self._writing.folder} is the beginning of another collection's backup: "
                    f"its {name} is {there!r}, not {here!r}"
                )
        with Archive(self._writing.folder) as archive:
            for part in said.parts:
                archive.read(part)
        return said

    async def _read(self, said: Manifest) -> Manifest:
        """Reads the points that are left, and writes them a part at a time."""
        rows: list[Row] = []
        list_page = partial(self.client.list_page, said.collection, with_vectors=True)
        async for page in self._calls.pages(list_page, said.next):
            rows += [row_of(point) for point in await self._whole(said.collection, page.points)]
            self.on_progress(said.points + len(rows), said.points_at_start)
            if sum(row.size for row in rows) >= _PART_BYTES or not page.next_token:
                said = await self._write(said, rows, page.next_token)
                rows = []
        return said

    async def _write(self, said: Manifest, rows: Sequence[Row], token: str) -> Manifest:
        """Writes a part, if there is one, and then the manifest that has it; `token` is the next page's."""
        parts = said.parts
        if rows:
            content = await asyncio.to_thread(encode, rows, said.dimension)
            name = part_name(len(parts))
            parts = (*parts, await asyncio.to_thread(self._writing.write_part, name, len(rows), content))
        said = replace(said, parts=parts, next=token)
        if not token:
            said = replace(said, finished=_now(), points_at_end=await self._count(said.collection))
        await asyncio.to_thread(self._writing.write_manifest, said)
        return said

    async def _whole(self, collection: str, points: Sequence[StoredPoint]) -> Sequence[StoredPoint]:
        """The points, those that were caught in the middle of a write read again. Raises BackupError."""
        half = [point.id for point in points if not _is_whole(point)]
        if not half:
            return points
        again = partial(self.client.get_points, collection, half, with_vectors=True)
        read = {point.id: point for point in await self._calls.make(again)}
        for point in read.values():
            if not _is_whole(point):
                raise BackupError(f"{collection!r} holds {point.id!r} without a vector that it should have")
        return [read.get(point.id, point) for point in points if point.id not in half or point.id in read]

    async def _count(self, collection: str) -> int:
        return await self._calls.make(partial(self.client.count, collection))


def _is_whole(point: StoredPoint) -> bool:
    vectors = (point.image_vector, point.text_vector)
    return (point.has_image, point.has_text) == tuple(vector is not None for vector in vectors)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
