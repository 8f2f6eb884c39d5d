"""Search: terms become a vector for each vector name, the store finds neighbours, one ranking comes of it.

Several searches go through together: one encoder call for all their texts and one for all their
pictures, if their collections are of one model; one store call for each collection.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

from clipsearch.serving.errors import DeadlineExceeded, InvalidArgument, NotFound
from clipsearch.serving.together import together
from search_service.collections import check_fingerprint
from search_service.deadline import Deadline
from search_service.encoder.client import Outcome
from search_service.encoder.encoders import Encoders
from search_service.error_paths import at, inside
from search_service.query.calibration import Calibration, Weighted
from search_service.query.calibrations import Calibrations
from search_service.query.filter_fields import FieldChecks
from search_service.query.filter_types import fitted
from search_service.query.nearest import nearest
from search_service.query.queries import Answer, Hit, Query, Timings
from search_service.query.ranking import fetched_at_once, rank, side_queries
from search_service.query.terms import Picture, Ready, Stored, Words, check_weights, compose
from search_service.stores.protocol import (
    SIDES,
    CollectionSpec,
    PayloadSelection,
    ScoredPoint,
    Side,
    StoredPoint,
    Vector,
    VectorQuery,
    VectorStore,
)
from search_service.write.vectors import check_dimension

What = TypeVar("What", Words, Picture, Ready, Stored)


@dataclass(slots=True)
class _Run:
    """One search on its way: its collection, and by index a vector for each of its terms, and its kind."""

    query: Query
    spec: CollectionSpec
    vectors: dict[int, Vector] = field(default_factory=dict)
    kinds: dict[int, Side] = field(default_factory=dict)
    calibration: Calibration | None = None
    tokens_dropped: dict[int, int] = field(default_factory=dict)
    weak_match_below: float = 0.0

    def terms(self, kind: type[What]) -> list[tuple[int, What]]:
        """The terms of one kind, with their indexes."""
        return [(i, term.what) for i, term in enumerate(self.query.terms) if isinstance(term.what, kind)]

    @property
    def joins(self) -> bool:
        """Whether calibrated scores join two rankings."""
        return self.query.target == "any" and self.query.fusion == "calibrated"

    def weighted(self) -> list[Weighted]:
        """The terms, once every one has a vector."""
        return [
            Weighted(self.vectors[i], term.weight, self.kinds.get(i))
            for i, term in enumerate(self.query.terms)
        ]

    def vector(self, name: Side) -> Vector:
        """The query vector for one vector name. Raises InvalidArgument.

        Each term is divided by the spread of its kind's cosines to these vectors, so that a weight means
        the same for words and for images.
        """
        terms = self.weighted()
        spreads = [1.0] * len(terms)
        if len(terms) > 1 and self.calibration is not None:
            spreads = [self.calibration.spread(term, name) for term in terms]
        return compose(
            [term.vector for term in terms],
            [term.weight / spread for term, spread in zip(terms, spreads, strict=True)],
        )


class Search:
    """Answers searches. `store_timeout_s` is the longest wait for one answer of the store."""

    def __init__(
        self, store: VectorStore, encoders: Encoders, calibrations: Calibrations, store_timeout_s: float
    ) -> None:
        self._store = store
        self._encoders = encoders
        self._calibrations = calibrations
        self._store_timeout_s = store_timeout_s
        self._fields = FieldChecks(store, store_timeout_s)

    async def search(self, queries: Sequence[Query], deadline: Deadline) -> list[Answer]:
        """One answer a query, in order; the first query that is wrong fails them all.

        Raises InvalidArgument, NotFound (collection or point), FingerprintMismatch,
        FailedPrecondition and what the encoder and the store raise.
        """
        clock = _Clock()
        with clock.store():
            runs = await self._begin(queries, deadline)
            await self._fetch(runs, deadline)
        await self._encode(runs, clock, deadline)
        with clock.store():
            await self._calibrate(runs, deadline)
            found = await self._neighbours(runs, deadline)
            ranked = await asyncio.gather(
                *(self._ranked(run, sides, deadline) for run, sides in zip(runs, found, strict=True))
            )
        timings = Timings(clock.encode_s, clock.store_s)
        return [
            Answer(
                hits,
                run.query.fusion if fused else None,
                run.spec.fingerprint,
                timings,
                run.tokens_dropped,
                run.weak_match_below,
            )
            for run, (hits, fused) in zip(runs, ranked, strict=True)
        ]

    async def _begin(self, queries: Sequence[Query], deadline: Deadline) -> list[_Run]:
        """Finds the collections, and what is wrong before anything is computed."""
        specs: dict[str, CollectionSpec] = {}
        runs = []
        for query in queries:
            with inside(query.place):
                if query.collection not in specs:
                    specs[query.collection] = await self._store.resolve(
                        query.collection, timeout=self._left(deadline)
                    )
                spec = specs[query.collection]
                run = _Run(replace(query, filter=fitted(query.filter, spec.payload_indexes)), spec)
                _check(run)
            runs.append(run)
        return runs

    async def _fetch(self, runs: Sequence[_Run], deadline: Deadline) -> None:
        """The vectors of stored points: the image's if there is one, otherwise the text's."""
        wanted: dict[str, dict[str, None]] = {}  # collection -> its ids, each once, in order
        for run in runs:
            for _, stored in run.terms(Stored):
                wanted.setdefault(run.spec.name, {})[stored.id] = None
        points = {
            (collection, point.id): point
            for collection, ids in wanted.items()
            for point in await self._store.get(
                collection,
                list(ids),
                payload=PayloadSelection(include=()),
                with_vectors=True,
                timeout=self._left(deadline),
            )
        }
        for run in runs:
            for i, stored in run.terms(Stored):
                with inside(run.query.place):
                    run.kinds[i], run.vectors[i] = _vector_of(
                        points.get((run.spec.name, stored.id)), stored.id
                    )

    async def _encode(self, runs: Sequence[_Run], clock: _Clock, deadline: Deadline) -> None:
        """The vectors of texts and pictures; one encoder call a model."""
        models: dict[str, list[_Run]] = {}
        for run in runs:
            if any(isinstance(term.what, Words | Picture) for term in run.query.terms):
                models.setdefault(run.spec.fingerprint, []).append(run)
        if not models:
            return
        with clock.encoder():
            await together([self._encode_alike(alike, deadline) for alike in models.values()])

    async def _encode_alike(self, runs: Sequence[_Run], deadline: Deadline) -> None:
        """The same for searches of collections of one model."""
        words = [(run, i, what.text) for run in runs for i, what in run.terms(Words)]
        pictures = [(run, i, what.data) for run in runs for i, what in run.terms(Picture)]
        encoding = await self._encoders.encode_for(
            runs[0].spec, [text for *_, text in words], [data for *_, data in pictures], deadline
        )
        for run in runs:
            # The bound is one of texts against pictures; a picture in the query lies nearer to all pictures.
            if all(isinstance(term.what, Words) for term in run.query.terms):
                run.weak_match_below = encoding.weak_match_below
        for (run, i, _), outcome in zip(words, encoding.texts, strict=True):
            _settle(run, i, "text", outcome, encoding.fingerprint)
        for (run, i, _), outcome in zip(pictures, encoding.images, strict=True):
            _settle(run, i, "image", outcome, encoding.fingerprint)

    async def _calibrate(self, runs: Sequence[_Run], deadline: Deadline) -> None:
        """The calibrations of the collections, where a search needs one: both names, or several terms."""
        try:
            async with asyncio.timeout(self._left(deadline)):
                for run in runs:
                    if run.joins or len(run.query.terms) > 1:
                        run.calibration = await self._calibrations.get(run.spec.name)
        except TimeoutError:
            raise DeadlineExceeded("the store did not answer in time") from None

    async def _neighbours(self, runs: Sequence[_Run], deadline: Deadline) -> list[list[list[ScoredPoint]]]:
        """For each search, for each side that it asks, the nearest points; one store call a collection."""
        questions: list[list[VectorQuery]] = []
        for run in runs:
            with inside(run.query.place):
                target = run.query.target
                names = SIDES if target == "any" else (target,)
                questions.append(side_queries(run.query, {name: run.vector(name) for name in names}))
        answers: dict[str, Iterator[list[ScoredPoint]]] = {}
        for name, spec in {run.spec.name: run.spec for run in runs}.items():
            asked = [
                q for run, own in zip(runs, questions, strict=True) if run.spec.name == name for q in own
            ]
            found = await nearest(self._store, spec, asked, deadline, self._store_timeout_s)
            answers[name] = iter(found)
        return [[next(answers[run.spec.name]) for _ in own] for run, own in zip(runs, questions, strict=True)]

    async def _ranked(
        self, run: _Run, sides: Sequence[Sequence[ScoredPoint]], deadline: Deadline
    ) -> tuple[list[Hit], bool]:
        """The page of hits, with all that was asked of them; and whether their scores are fused."""
        query = run.query
        if run.joins and all(sides) and (run.calibration is None or not run.calibration.both):
            # Written by another process, which has not measured them yet.
            run.calibration = await self._calibrations.renew(run.spec.name)
        scales = None
        if run.joins and run.calibration is not None and run.calibration.both:
            terms = run.weighted()
            scales = {name: run.calibration.scale(terms, name) for name in SIDES}
        ranked = rank(query, sides, scales)
        hits, fused = ranked.hits, ranked.fused
        if query.filter:
            with inside(query.place):
                await self._fields.check(run.spec, query.filter, deadline, found=any(sides), misspelt=True)
        if not hits or fetched_at_once(query):
            return hits, fused
        points = await self._store.get(
            run.spec.name,
            [hit.point.id for hit in hits],
            payload=query.payload,
            with_vectors=query.with_vectors,
            timeout=self._left(deadline),
        )
        whole = {point.id: point for point in points}
        # A point that was deleted since it was found is no hit any more.
        return [replace(hit, point=whole[hit.point.id]) for hit in hits if hit.point.id in whole], fused

    def _left(self, deadline: Deadline) -> float:
        return deadline.left(at_most=self._store_timeout_s)


class _Clock:
    """Seconds spent waiting, by whom for."""

    def __init__(self) -> None:
        self.encode_s = 0.0
        self.store_s = 0.0

    @contextmanager
    def encoder(self) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.encode_s += time.perf_counter() - start

    @contextmanager
    def store(self) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.store_s += time.perf_counter() - start


def _check(run: _Run) -> None:
    """Raises what is wrong with the query; ready vectors take their places."""
    query, spec = run.query, run.spec
    check_weights([term.weight for term in query.terms])
    if query.fingerprint:
        check_fingerprint(spec, query.fingerprint, "the request")
    for i, ready in run.terms(Ready):
        check_dimension(ready.vector, spec, f"query[{i}].vector")
        run.vectors[i] = ready.vector
        if ready.kind is not None:
            run.kinds[i] = ready.kind


def _vector_of(point: StoredPoint | None, id: str) -> tuple[Side, Vector]:
    if point is not None and point.image is not None:
        return "image", point.image
    if point is not None and point.text is not None:
        return "text", point.text
    raise NotFound("point", id)


def _settle(run: _Run, index: int, kind: Side, outcome: Outcome, fingerprint: str) -> None:
    """Puts an encoded term in its place. Raises what is wrong with it."""
    place = f"query[{index}].{kind}"
    with inside(run.query.place):
        check_fingerprint(run.spec, fingerprint, "the encoder")
        if isinstance(outcome, InvalidArgument):
            raise at(outcome, place)
        check_dimension(outcome.vector, run.spec, place)
    run.vectors[index] = outcome.vector
    run.kinds[index] = kind
    if outcome.tokens_dropped:
        run.tokens_dropped[index] = outcome.tokens_dropped
