"""Search: terms become a vector for each vector name, the store finds neighbours, one ranking comes of it.

Several searches go through together: one encoder call for all their texts and one for all their
images, if their collections are of one model; one store call for each collection.
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
from search_service.collection_checks import check_dimension, check_fingerprint
from search_service.deadline import Deadline
from search_service.encoder.client import Outcome
from search_service.encoder.encoders import Encoders
from search_service.error_paths import at, inside
from search_service.query.calibration import Calibration, Weighted
from search_service.query.calibrations import Calibrations
from search_service.query.filter_fields import FieldChecks
from search_service.query.filter_types import fitted
from search_service.query.nearest import nearest
from search_service.query.queries import Answer, Query, Timings
from search_service.query.ranking import Ranked, fetched_at_once, rank, vector_queries
from search_service.query.terms import ImageTerm, PointTerm, TextTerm, VectorTerm, check_weights, compose
from search_service.stores.protocol import (
    VECTOR_NAMES,
    CollectionSpec,
    PayloadSelection,
    ScoredPoint,
    StoredPoint,
    Vector,
    VectorName,
    VectorQuery,
    VectorStore,
)

What = TypeVar("What", TextTerm, ImageTerm, VectorTerm, PointTerm)


@dataclass(slots=True)
class _Run:
    """One search on its way: its collection, and by index a vector for each of its terms, and its kind."""

    query: Query
    spec: CollectionSpec
    vectors: dict[int, Vector] = field(default_factory=dict)
    kinds: dict[int, VectorName] = field(default_factory=dict)
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

    def vector(self, name: VectorName) -> Vector:
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
    """Answers searches."""

    def __init__(self, store: VectorStore, encoders: Encoders, calibrations: Calibrations) -> None:
        self._store = store
        self._encoders = encoders
        self._calibrations = calibrations
        self._fields = FieldChecks(store)

    async def search(self, queries: Sequence[Query], deadline: Deadline) -> list[Answer]:
        """One answer a query, in order; the first query that is wrong fails them all.

        Raises InvalidArgument, NotFound (collection or point), FingerprintMismatch,
        FailedPrecondition and what the encoder and the store raise.
        """
        waited = {"encoder": 0.0, "store": 0.0}
        with _timed(waited, "store"):
            runs = await self._begin(queries, deadline)
            await self._fetch(runs, deadline)
        await self._encode(runs, waited, deadline)
        with _timed(waited, "store"):
            await self._calibrate(runs, deadline)
            found = await self._neighbours(runs, deadline)
            ranked = await asyncio.gather(
                *(self._ranked(run, own, deadline) for run, own in zip(runs, found, strict=True))
            )
        timings = Timings(waited["encoder"], waited["store"])
        return [
            Answer(
                one.hits,
                run.query.fusion if one.fused else None,
                run.spec.fingerprint,
                timings,
                run.tokens_dropped,
                run.weak_match_below,
            )
            for run, one in zip(runs, ranked, strict=True)
        ]

    async def _begin(self, queries: Sequence[Query], deadline: Deadline) -> list[_Run]:
        """Finds the collections, and what is wrong before anything is computed."""
        specs: dict[str, CollectionSpec] = {}
        runs = []
        for query in queries:
            with inside(query.path):
                if query.collection not in specs:
                    specs[query.collection] = await self._store.resolve(
                        query.collection, timeout=deadline.store()
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
            for _, stored in run.terms(PointTerm):
                wanted.setdefault(run.spec.name, {})[stored.id] = None
        points = {
            (collection, point.id): point
            for collection, ids in wanted.items()
            for point in await self._store.get(
                collection,
                list(ids),
                payload=PayloadSelection(include=()),
                with_vectors=True,
                timeout=deadline.store(),
            )
        }
        for run in runs:
            for i, stored in run.terms(PointTerm):
                with inside(run.query.path):
                    run.kinds[i], run.vectors[i] = _vector_of(
                        points.get((run.spec.name, stored.id)), stored.id
                    )

    async def _encode(self, runs: Sequence[_Run], waited: dict[str, float], deadline: Deadline) -> None:
        """The vectors of texts and images; one encoder call a model."""
        models: dict[str, list[_Run]] = {}
        for run in runs:
            if any(isinstance(term.what, TextTerm | ImageTerm) for term in run.query.terms):
                models.setdefault(run.spec.fingerprint, []).append(run)
        if not models:
            return
        with _timed(waited, "encoder"):
            await together([self._encode_alike(alike, deadline) for alike in models.values()])

    async def _encode_alike(self, runs: Sequence[_Run], deadline: Deadline) -> None:
        """The same for searches of collections of one model."""
        texts = [(run, i, what.text) for run in runs for i, what in run.terms(TextTerm)]
        images = [(run, i, what.data) for run in runs for i, what in run.terms(ImageTerm)]
        encoding = await self._encoders.encode_for(
            runs[0].spec, [text for *_, text in texts], [data for *_, data in images], deadline
        )
        for run in runs:
            # The bound is one of texts against images; an image in the query lies nearer to all images.
            if all(isinstance(term.what, TextTerm) for term in run.query.terms):
                run.weak_match_below = encoding.weak_match_below
        for (run, i, _), outcome in zip(texts, encoding.texts, strict=True):
            _settle(run, i, "text", outcome, encoding.fingerprint)
        for (run, i, _), outcome in zip(images, encoding.images, strict=True):
            _settle(run, i, "image", outcome, encoding.fingerprint)

    async def _calibrate(self, runs: Sequence[_Run], deadline: Deadline) -> None:
        """The calibrations of the collections, where a search needs one: both names, or several terms."""
        try:
            async with asyncio.timeout(deadline.store()):
                for run in runs:
                    if run.joins or len(run.query.terms) > 1:
                        run.calibration = await self._calibrations.get(run.spec.name)
        except TimeoutError:
            raise DeadlineExceeded("the store did not answer in time") from None

    async def _neighbours(self, runs: Sequence[_Run], deadline: Deadline) -> list[list[list[ScoredPoint]]]:
        """By search and vector name that it asks, the nearest points; one store call a collection."""
        questions: list[list[VectorQuery]] = []
        for run in runs:
            with inside(run.query.path):
                target = run.query.target
                names = VECTOR_NAMES if target == "any" else (target,)
                questions.append(vector_queries(run.query, {name: run.vector(name) for name in names}))
        answers: dict[str, Iterator[list[ScoredPoint]]] = {}
        for name, spec in {run.spec.name: run.spec for run in runs}.items():
            asked = [
                q for run, own in zip(runs, questions, strict=True) if run.spec.name == name for q in own
            ]
            found = await nearest(self._store, spec, asked, deadline)
            answers[name] = iter(found)
        return [[next(answers[run.spec.name]) for _ in own] for run, own in zip(runs, questions, strict=True)]

    async def _ranked(self, run: _Run, found: Sequence[Sequence[ScoredPoint]], deadline: Deadline) -> Ranked:
        """The page of hits, with all that was asked of them."""
        query = run.query
        if run.joins and all(found) and (run.calibration is None or not run.calibration.both):
            # Written by another process, which has not measured them yet.
            run.calibration = await self._calibrations.renew(run.spec.name)
        scales = None
        if run.joins and run.calibration is not None and run.calibration.both:
            terms = run.weighted()
            scales = {name: run.calibration.scale(terms, name) for name in VECTOR_NAMES}
        ranked = rank(query, found, scales)
        if query.filter:
            with inside(query.path):
                await self._fields.check(run.spec, query.filter, deadline, found=any(found), misspelt=True)
        if not ranked.hits or fetched_at_once(query):
            return ranked
        points = await self._store.get(
            run.spec.name,
            [hit.point.id for hit in ranked.hits],
            payload=query.payload,
            with_vectors=query.with_vectors,
            timeout=deadline.store(),
        )
        whole = {point.id: point for point in points}
        # A point that was deleted since it was found is no hit any more.
        there = [hit for hit in ranked.hits if hit.point.id in whole]
        return replace(ranked, hits=[replace(hit, point=whole[hit.point.id]) for hit in there])


@contextmanager
def _timed(waited: dict[str, float], dependency: str) -> Iterator[None]:
    """Adds the seconds that the block takes to those waited for the dependency."""
    start = time.perf_counter()
    yield
    waited[dependency] += time.perf_counter() - start


def _check(run: _Run) -> None:
    """Raises what is wrong with the query; ready vectors take their places."""
    query, spec = run.query, run.spec
    check_weights([term.weight for term in query.terms])
    if query.fingerprint:
        check_fingerprint(spec, query.fingerprint, "the request")
    for i, ready in run.terms(VectorTerm):
        check_dimension(ready.vector, spec, f"query[{i}].vector")
        run.vectors[i] = ready.vector
        if ready.kind is not None:
            run.kinds[i] = ready.kind


def _vector_of(point: StoredPoint | None, id: str) -> tuple[VectorName, Vector]:
    if point is not None and point.image is not None:
        return "image", point.image
    if point is not None and point.text is not None:
        return "text", point.text
    raise NotFound("point", id)


def _settle(run: _Run, index: int, kind: VectorName, outcome: Outcome, fingerprint: str) -> None:
    """Puts an encoded term in its place. Raises what is wrong with it."""
    path = f"query[{index}].{kind}"
    with inside(run.query.path):
        check_fingerprint(run.spec, fingerprint, "the encoder")
        if isinstance(outcome, InvalidArgument):
            raise at(outcome, path)
        check_dimension(outcome.vector, run.spec, path)
    run.vectors[index] = outcome.vector
    run.kinds[index] = kind
    if outcome.tokens_dropped:
        run.tokens_dropped[index] = outcome.tokens_dropped
