"""The best points of each value of a payload field, as they stand in the ranking of a whole search.

Neither a point's cosine nor its calibrated score depends on a filter. So the groups that a list does not
reach are those of another list, of points with other values, and a group that a list cuts off is a list of
its own; what comes of it is what one list of all points would give. RRF, DBSF and words score by ranks, which
a filter changes, and boosts are for the best of a list: there the groups are those of the one list.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from clipsearch.filters.paths import values_at
from clipsearch.serving.errors import InvalidArgument
from search_service.query.filters import FieldChecks
from search_service.query.queries import FUSION_DEPTH, Answer, Hit, Query
from search_service.query.ranking import Ranked
from search_service.query.search import Run, Search
from search_service.stores.codec import selectable
from search_service.stores.collection import CollectionSpec, index_type
from search_service.stores.filters import Condition, Filter, IsEmpty, MatchExcept, MatchValue
from search_service.stores.protocol import PayloadSelection, StoredPoint, VectorStore

_DEEPEST = 10_000  # hits that are looked through for another group


@dataclass(frozen=True, slots=True)
class Group:
    """The best points of one value, best first."""

    value: str | int
    hits: list[Hit]


@dataclass(frozen=True, slots=True)
class GroupQuery:
    """A search of `query.limit` groups of at most `size` hits, by the payload field `key`."""

    query: Query
    key: str
    size: int


class Groups:
    """Answers searches whose hits are grouped."""

    def __init__(self, store: VectorStore, search: Search) -> None:
        self._search = search
        self._fields = FieldChecks(store)

    async def search(self, asked: GroupQuery) -> tuple[list[Group], Answer]:
        """The groups in the order of their best hits, and the search's answer without hits.

        Raises what a search does, and InvalidArgument for a field that no point has, or that holds
        neither words nor whole numbers.
        """
        begun = time.perf_counter()
        [run], encode_s = await self._search.prepare([asked.query])
        index = run.spec.payload_indexes.get(asked.key)
        if index not in (None, "keyword", "tenant", "integer"):
            raise _mismatch(asked.key, f"has a payload index of type {index_type(index)}")
        walk = _Walk(asked, run)
        ranked = await self._walk(walk)
        if not walk.groups:
            await self._check_field(run.spec, asked.key)
        ids = dict.fromkeys(hit.point.id for hits in walk.groups.values() for hit in hits)
        points = await self._search.points(run, list(ids))
        groups = [
            Group(value, [replace(h, point=points[h.point.id]) for h in hits if h.point.id in points])
            for value, hits in walk.groups.items()
        ]
        store_s = time.perf_counter() - begun - encode_s
        whole = [group for group in groups if group.hits]
        return whole, run.answer(replace(ranked, hits=[]), encode_s, store_s)

    async def _check_field(self, spec: CollectionSpec, key: str) -> None:
        """Raises InvalidArgument for a field that no point has, or that holds nothing to group by.

        By some of the points, whatever the search has found: the field is wrong for all searches or for none.
        """
        page = await self._fields.sample(spec.name, key)
        if not page.points and key not in spec.payload_indexes:
            await self._fields.refuse_unknown(spec.name, "group_by", key)
        if page.points and not any(_values(point, key) for point in page.points):
            seen = (
                "" if page.next_cursor is None else f" in the {len(page.points)} points that were looked at"
            )
            raise _mismatch(key, f"holds neither{seen}")

    async def _walk(self, walk: _Walk) -> Ranked:
        """Finds the groups, and then what is missing in them."""
        query, key = walk.asked.query, walk.asked.key
        by_ranks = query.by_words or (query.target == "any" and query.fusion != "calibrated")
        limit = 2 * FUSION_DEPTH if by_ranks else query.limit * walk.asked.size
        if query.boosts:
            limit = query.boost_candidates
        part = walk.part(limit)
        [first] = await self._search.rank([part])
        walk.run = replace(walk.run, calibration=part.calibration)  # measured meanwhile, if it had none
        more = walk.take(first.hits, limit)
        if by_ranks or query.boosts:
            return first
        while more and not walk.has_all and limit <= _DEEPEST:
            before = len(walk.groups)
            words = tuple(value for value in walk.groups if isinstance(value, str))
            numbers = tuple(value for value in walk.groups if isinstance(value, int))
            others = [MatchExcept(key, values) for values in (words, numbers) if values]
            [found] = await self._search.rank([walk.part(limit, *others)])
            more = walk.take(found.hits, limit)
            if len(walk.groups) == before:  # some points have no value for a group, or share known ones
                limit *= 4
        short = [v for v, hits in walk.groups.items() if v in walk.cut and len(hits) < walk.asked.size]
        parts = [walk.part(walk.asked.size, MatchValue(key, value)) for value in short]
        for value, own in zip(short, await self._search.rank(parts), strict=True):
            walk.groups[value] = own.hits
        return first


class _Walk:
    """The groups found so far, by value, in the order of their best hits."""

    def __init__(self, asked: GroupQuery, run: Run) -> None:
        self.asked = asked
        self.run = run
        self.groups: dict[str | int, list[Hit]] = {}
        self.cut: set[str | int] = set()  # those of lists that had an end before all points

    @property
    def has_all(self) -> bool:
        """Whether there are as many groups as are wanted."""
        return len(self.groups) == self.asked.query.limit

    def part(self, limit: int, *conditions: Condition) -> Run:
        """The search for the first `limit` of the points that have the field, and meet the conditions."""
        filter = self.run.query.filter
        grouped = Filter(must_not=(IsEmpty(self.asked.key),))
        query = replace(
            self.run.query,
            limit=limit,
            filter=replace(filter, must=(*filter.must, *conditions, grouped)),
            payload=PayloadSelection(include=(selectable(self.asked.key),)),
            with_vectors=False,
        )
        return replace(self.run, query=query)

    def take(self, hits: Sequence[Hit], limit: int) -> bool:
        """Makes groups of a list's hits, beside those that are there; returns whether it was cut off."""
        before = frozenset(self.groups)
        for hit in hits:
            for value in _values(hit.point, self.asked.key):
                if value not in self.groups and not self.has_all:
                    self.groups[value] = []
                group = self.groups.get(value)
                if group is not None and value not in before and len(group) < self.asked.size:
                    group.append(hit)
        cut = len(hits) == limit
        if cut:
            self.cut |= self.groups.keys() - before
        return cut


def _values(point: StoredPoint, key: str) -> list[str | int]:
    """The values of the field that a group can have, each once."""
    values = values_at(point.payload, key)
    return list(dict.fromkeys(v for v in values if isinstance(v, str | int) and not isinstance(v, bool)))


def _mismatch(key: str, why: str) -> InvalidArgument:
    return InvalidArgument(
        "group_by",
        f"groups are of words (keyword) or whole numbers (integer); {key!r} {why}",
        "GROUP_TYPE_MISMATCH",
        {"key": key},
    )
