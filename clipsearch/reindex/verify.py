"""Compares a collection with its successor, point by point, and mends what differs.

Writers go on meanwhile. What came to the successor by the backfill just after a writer deleted it
is removed, what differs is made anew: deleted there, read from the old collection, and written if
it is still not there. The old collection is written first, so whatever comes in between ends right.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial

from clipsearch.batches import batched
from clipsearch.client.types import StoredPoint
from clipsearch.reindex.backfill import Backfill
from clipsearch.reindex.sources import Lacking

_AT_ONCE = 256
_MOST_ROUNDS = 5


@dataclass(slots=True)
class Verification:
    """What came of it. `lacking`: points that the new collection still has not got, and why.

    `removed` were deleted meanwhile, `renewed` differed; `differing` still do after the last round.
    """

    points: int = 0
    removed: int = 0
    renewed: int = 0
    lacking: list[Lacking] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """True if the new collection holds what the old one does."""
        return not self.lacking and not self.differing


@dataclass(slots=True)
class _Round:
    """What one pass over both collections found."""

    points: int = 0
    missing: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)


async def verify(backfill: Backfill) -> Verification:
    """Passes over both until nothing differs, a few times at most."""
    done = Verification()
    for last in (n == _MOST_ROUNDS - 1 for n in range(_MOST_ROUNDS)):
        found = await _pass(backfill)
        mendable = [id for id in found.missing if id not in backfill.lacking]
        if last or not (mendable or found.differing or found.extra):
            break
        await _renew(backfill, found.differing + found.extra, delete=True)
        await _renew(backfill, mendable, delete=False)
        done.renewed += len(found.differing) + len(mendable)
        done.removed += len(found.extra)
    done.points = found.points
    done.differing = found.differing + found.extra
    unknown = partial(Lacking, kind="failed", reason="written while the two were compared; run it again")
    done.lacking = [backfill.lacking.get(id) or unknown(id) for id in found.missing]
    return done


async def _pass(backfill: Backfill) -> _Round:
    found = _Round()
    list_page = backfill.client.list_page
    async for page in backfill.calls.pages(partial(list_page, backfill.old)):
        found.points += len(page.points)
        missing, differing = await _look(backfill, page.points)
        found.missing += missing
        found.differing += differing
    async for page in backfill.calls.pages(partial(list_page, backfill.new, payload=False)):
        ids = [point.id for point in page.points]
        for _ in range(2):  # what was written since the page was read is there the second time
            there = {point.id for point in await _get(backfill, backfill.old, ids)}
            ids = [point.id for point in await _get(backfill, backfill.new, set(ids) - there)]
        found.extra += ids
    return found


async def _look(
    backfill: Backfill, points: Sequence[StoredPoint], again: bool = True
) -> tuple[list[str], list[str]]:
    """Ids of the points that the new collection lacks, and of those that differ there."""
    copies = await _get(backfill, backfill.new, [point.id for point in points], payload=True)
    by_id = {copy.id: copy for copy in copies}
    there = [point for point in points if point.id in by_id]
    missing = [point.id for point in points if point.id not in by_id]
    differing = [point.id for point in there if _content(point) != _content(by_id[point.id])]
    if again and (missing or differing):  # a writer may have been between the two; both are read again
        points = await _get(backfill, backfill.old, [*missing, *differing], payload=True)
        return await _look(backfill, points, again=False)
    return missing, differing


def _content(point: StoredPoint) -> tuple[object, bool, bool]:
    return point.payload, point.has_image, point.has_text


async def _renew(backfill: Backfill, ids: Sequence[str], delete: bool) -> None:
    for batch in batched(ids, _AT_ONCE):
        if delete:
            await backfill.calls.make(partial(backfill.client.delete_points, backfill.new, batch))
        await backfill.fill(await _get(backfill, backfill.old, batch, payload=True))


async def _get(
    backfill: Backfill, collection: str, ids: Collection[str], payload: bool = False
) -> list[StoredPoint]:
    if not ids:
        return []
    ask = partial(backfill.client.get_points, collection, list(ids), payload=payload)
    return await backfill.calls.make(ask)
