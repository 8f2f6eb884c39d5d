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

from clipsearch.batches import batched
from clipsearch.client.aio import AsyncClient
from clipsearch.client.inputs import Point
from clipsearch.client.retrying import Retrying, reason, side_by_side
from clipsearch.client.types import StoredPoint, UpsertResult, Vector
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
        sources = await asyncio.to_thread(lambda: [source_of(point, self.fields) for point in points])
        lacking = [source for source in sources if isinstance(source, Lacking)]
        if lacking:  # a writer may have given it, to both
            ask = partial(self.client.get_points, self.new, [source.id for source in lacking], payload=False)
            there = {point.id for point in await self.calls.make(ask)}
            self._count("already", len(there))
            for source in lacking:
                if source.id not in there:
                    self._lack(source)
        given = [source for source in sources if isinstance(source, Point)]
        bare = [point.id for point in given if point.image is None and point.text is None]
        if bare:  # as only others can be written, each gets a vector and loses it again
            new = await self.calls.make(partial(self.client.get_collection, self.new))
            stand_in = np.eye(1, new.dimension, dtype=np.float32)[0]
            given = [replace(point, image_vector=stand_in) if point.id in bare else point for point in given]

        def note(point: Point, result: UpsertResult) -> None:
            if result.skipped:
                self._count("already")
            else:
                self._count("encoded" if point.image_vector is None else "bare")

        for batch in batched(given, len(given), _BATCH_BYTES, _image_size):
            await self.calls.write(
                batch,
                partial(self.client.upsert, self.new, insert_only=True),
                written=note,
                failed=lambda point, error: self._lack(Lacking(point.id, "failed", reason(error))),
            )
        if bare:
            await self._strip(bare, stand_in)
        self.on_progress(self.progress)

    async def _strip(self, ids: Sequence[str], stand_in: Vector) -> None:
        """Takes the vector away that stands in, where it still does: a writer may have given another one."""
        found = await self.calls.make(partial(self.client.get_points, self.new, ids, with_vectors=True))
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


def _image_size(point: Point) -> int:
    return len(point.image) if isinstance(point.image, bytes) else 0
