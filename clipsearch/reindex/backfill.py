"""Fills a collection's successor with what the collection holds, encoded by the successor's model.

Only points that are not there yet are written, so a newer write that came through the link is never
replaced, and a run after one that was killed encodes nothing twice but the batches then in flight.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import numpy as np

from clipsearch.batches import batched, side_by_side
from clipsearch.client.aio import AsyncClient
from clipsearch.client.inputs import Point
from clipsearch.client.retrying import Retrying, reason
from clipsearch.client.types import StoredPoint, UpsertResult
from clipsearch.reindex.sources import Fields, Lacking, source_of

# Enough to keep an encoder busy. The writes of others wait behind what is in flight here, by the same
# encoder: with 128 images in flight on a starved machine it refused them for their deadlines.
_BATCH = 16
_CONCURRENT = 2
_BATCH_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Progress:
    """Points encoded and written, there already, lacking, and `bare`: carried over without vectors."""

    encoded: int = 0
    already: int = 0
    lacking: int = 0
    bare: int = 0

    @property
    def done(self) -> int:
        """Points dealt with."""
        return self.encoded + self.already + self.lacking + self.bare


@dataclass(eq=False)
class Backfill:
    """Fills `new` from `old`, two batches in flight; `on_progress` is called after each.

    `lacking` holds, by id, the points that could not be written, and why.
    """

    client: AsyncClient
    old: str
    new: str
    fields: Fields = field(default_factory=Fields)
    on_progress: Callable[[Progress], None] = lambda progress: None
    calls: Retrying = field(init=False, default_factory=Retrying)
    lacking: dict[str, Lacking] = field(init=False, default_factory=dict)
    progress: Progress = field(init=False, default=Progress())

    async def run(self) -> None:
        """Works until the last point. Raises ClipSearchError if the service refuses or stays away."""
        async for page in self.calls.pages(partial(self.client.list_page, self.old)):
            await side_by_side(batched(page.points, _BATCH), self.fill, _CONCURRENT)

    async def fill(self, points: Sequence[StoredPoint]) -> None:
        """Writes those of some points of the old collection that the new one has not got."""
        for point in points:
            self.lacking.pop(point.id, None)
        await self._write_bare([point for point in points if not _has_vectors(point)])
        whole = [point for point in points if _has_vectors(point)]
        sources = await asyncio.to_thread(lambda: [source_of(point, self.fields) for point in whole])
        lacking = [source for source in sources if isinstance(source, Lacking)]
        if lacking:  # a writer may have given it, to both
            ask = partial(self.client.get_points, self.new, [source.id for source in lacking], payload=False)
            there = {point.id for point in await self.calls.make(ask)}
            self._count("already", len(there))
            for source in lacking:
                if source.id not in there:
                    self._lack(source)
        given = [source for source in sources if isinstance(source, Point)]
        for batch in batched(given, len(given), _BATCH_BYTES, _image_size):
            await self.calls.write(
                batch,
                partial(self.client.upsert, self.new, insert_only=True),
                written=lambda _, result: self._count("already" if result.skipped else "encoded"),
                failed=lambda point, error: self._lack(Lacking(point.id, "failed", reason(error))),
            )
        self.on_progress(self.progress)

    async def _write_bare(self, points: Sequence[StoredPoint]) -> None:
        """Writes points without vectors; as only others can be written, each gets one and loses it again.

        It is taken away only where it still stands: a writer may have given the point another one.
        """
        if not points:
            return
        new = await self.calls.make(partial(self.client.get_collection, self.new))
        stand_in = np.eye(1, new.dimension, dtype=np.float32)[0]
        written: list[str] = []

        def note(point: Point, result: UpsertResult) -> None:
            self._count("already" if result.skipped else "bare")
            if not result.skipped:
                written.append(point.id)

        await self.calls.write(
            [Point(point.id, image_vector=stand_in, payload=point.payload) for point in points],
            partial(self.client.upsert, self.new, insert_only=True),
            written=note,
            failed=lambda point, error: self._lack(Lacking(point.id, "failed", reason(error))),
        )
        if not written:
            return
        found = await self.calls.make(partial(self.client.get_points, self.new, written, with_vectors=True))
        standing = [
            point.id
            for point in found
            if point.image_vector is not None and np.array_equal(point.image_vector, stand_in)
        ]
        if standing:
            strip = partial(self.client.delete_vectors, self.new, standing, vectors=["image"])
            await self.calls.make(strip)

    def _lack(self, lacking: Lacking) -> None:
        self.lacking[lacking.id] = lacking
        self._count("lacking")

    def _count(self, outcome: Literal["encoded", "already", "lacking", "bare"], points: int = 1) -> None:
        self.progress = replace(self.progress, **{outcome: getattr(self.progress, outcome) + points})


def _has_vectors(point: StoredPoint) -> bool:
    return point.has_image or point.has_text


def _image_size(point: Point) -> int:
    return len(point.image) if isinstance(point.image, bytes) else 0
