"""Search: terms become a vector for each vector name, the store finds neighbours, one ranking comes of it.

In order: collections are looked up and queries checked against them; stored points among the terms are
fetched; texts and images are encoded; calibrations are fetched; the store is asked; its lists become one
(ranking.py) with what was asked of it (words, boosts, only_matches); the page's points are fetched.

Several searches go through together: one encoder call for all their texts and one for all their
images, if their collections are of one model; one store call for each collection.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from clipsearch.serving.errors import InvalidArgument, NotFound, ServiceError, inside
from clipsearch.serving.together import together
from search_service.deadline import store_within
from search_service.encoder.client import Outcome
from search_service.encoder.encoders import Encoders
from search_service.query.boosts import (
    boosted,
    candidate_query,
    check_fields,
    check_indexes,
    fields_of,
    sum_of,
)
from search_service.query.calibration import Calibration, Weighted
from search_service.query.calibration_cache import CalibrationCache
from search_service.query.chance import Chance
from search_service.query.filters import FieldChecks, fitted
from search_service.query.queries import (
    FUSION_DEPTH,
    Answer,
    Fusion,
    ImageTerm,
    PointTerm,
    Query,
    TextTerm,
    VectorTerm,
    check_query,
    compose,
)
from search_service.query.ranking import Least, Ranked, fetched_at_once, nearest, rank, vector_queries
from search_service.query.words import check_words, with_words, words_query
from search_service.stores.checks import check_dimension, check_fingerprint
from search_service.stores.collection import CollectionSpec
from search_service.stores.protocol import (
    NO_PAYLOAD,
    VECTOR_NAMES,
    Context,
    Examples,
    Question,
    ScoredPoint,
    StoredPoint,
    Vector,
    VectorName,
    VectorStore,
)
from search_service.turns import in_turns

_HINT_S = 0.05

What = TypeVar("What", TextTerm, ImageTerm, VectorTerm, PointTerm)


@dataclass(slots=True)
class Run:
    """One search on its way: its collection, and by index its terms, once they have vectors."""

    query: Query
    spec: CollectionSpec
    found: dict[int, Weighted] = field(default_factory=dict)
    calibration: Calibration | None = None
    tokens_dropped: dict[int, int] = field(default_factory=dict)
    weak_match_below: float = 0.0

    def terms(self, kind: type[What]) -> list[tuple[int, What]]:
        """The terms of one kind, with their indexes; those of the context follow those of the query."""
        terms = enumerate(self.query.all_terms)
        return [(i, term.what) for i, (_, term) in terms if isinstance(term.what, kind)]

    @property
    def joins(self) -> bool:
        """Whether calibrated scores join two rankings."""
        return self.query.target == "any" and self.query.fusion == "calibrated"

    @property
    def names(self) -> tuple[VectorName, ...]:
        """Whose vectors are searched."""
        if self.query.target == "words":
            return ()
        return VECTOR_NAMES if self.query.target == "any" else (self.query.target,)

    def settle(self, index: int, kind: VectorName, outcome: Outcome) -> None:
        """Puts an encoded term in its place. Raises what is wrong with it."""
        path = f"{self.query.all_terms[index][0]}.{kind}"
        with inside(self.query.path):
            if isinstance(outcome, InvalidArgument):
                raise outcome.at(path)
            check_dimension(outcome.vector, self.spec, path)
        self.put(index, outcome.vector, kind)
        if outcome.tokens_dropped:
            self.tokens_dropped[index] = outcome.tokens_dropped

    def put(self, index: int, vector: Vector, kind: VectorName | None) -> None:
        """Gives a term its vector."""
        self.found[index] = Weighted(vector, self.query.all_terms[index][1].weight, kind)

    def answer(self, ranked: Ranked, encode_s: float, store_s: float) -> Answer:
        """The answer to the search."""
        fusion: Fusion = "hybrid" if self.query.hybrid else self.query.fusion
        return Answer(
            ranked.hits,
            fusion if ranked.fused else None,
            self.spec.fingerprint,
            encode_s,
            store_s,
            self.tokens_dropped,
            self.weak_match_below,
            self.query.only_matches,
        )

    def weighted(self) -> list[Weighted]:
        """The terms of the query, once every one has a vector."""
        return [self.found[i] for i in range(len(self.query.terms))]

    def examples(self) -> Examples | Context | None:
        """What is asked in place of one vector."""
        query, terms = self.query, self.weighted()
        if query.strategy != "average_vector":
            positives = tuple(term.vector for term in terms if term.weight > 0)
            negatives = tuple(term.vector for term in terms if term.weight < 0)
            return Examples(positives, negatives, query.strategy)
        if not query.context:
            return None
        vectors = [self.found[i].vector for i in range(len(terms), len(query.all_terms))]
        return Context(tuple(zip(vectors[::2], vectors[1::2], strict=True)))

    def questions(self, empty: frozenset[VectorName]) -> dict[str, Question]:
        """What the vector names are asked that are not `empty`, by name; and of words, as "words"."""
        asked: dict[str, Question] = {}
        if self.names:
            asked |= {
                one.name: one for one in vector_queries(candidate_query(self.query), self.vectors(empty))
            }
        if self.query.by_words:
            asked["words"] = words_query(self.query)
        return asked

    def vectors(self, empty: frozenset[VectorName]) -> dict[VectorName, Vector | Examples | Context]:
        """What is asked of the vector names that are not `empty`. Raises InvalidArgument.

        Each term is divided by the spread of its kind's cosines to the vectors of the name, so that a weight
        means the same for words and for images.
        """
        terms, examples = self.weighted(), self.examples()
        vectors: dict[VectorName, Vector | Examples | Context] = {}
        with inside(self.query.path):
            for name in self.names:
                if name in empty and len(self.names) > 1:
                    continue
                if isinstance(examples, Examples) or (examples is not None and not terms):
                    vectors[name] = examples
                    continue
                weights = [term.weight for term in terms]
                if len(terms) > 1 and self.calibration is not None:
                    weights = [term.weight / self.calibration.spread(term, name) for term in terms]
                vector = compose([term.vector for term in terms], weights)
                vectors[name] = vector if examples is None else replace(examples, target=vector)
        return vectors


class Search:
    """Answers searches."""

    def __init__(self, store: VectorStore, encoders: Encoders, calibrations: CalibrationCache) -> None:
        self._store = store
        self._encoders = encoders
        self._calibrations = calibrations
        self._chance = Chance(calibrations, encoders)
        self._fields = FieldChecks(store)

    async def search(self, queries: Sequence[Query]) -> list[Answer]:
        """One answer a query, in order; the first query that is wrong fails them all.

        Raises InvalidArgument, NotFound (collection or point), FingerprintMismatch,
        FailedPrecondition and what the encoder and the store raise.
        """
        begun = time.perf_counter()
        runs, encode_s = await self.prepare(queries)
        ranked = await self.rank(runs)
        store_s = time.perf_counter() - begun - encode_s
        return [run.answer(one, encode_s, store_s) for run, one in zip(runs, ranked, strict=True)]

    async def prepare(self, queries: Sequence[Query]) -> tuple[list[Run], float]:
        """The searches with all their vectors, and the seconds that encoding took."""
        runs = await self._begin(queries)
        await self._fetch(runs)
        begun = encoded = time.perf_counter()
        if any(map(_needs_encoder, runs)):
            await self._encode(runs)
            encoded = time.perf_counter()
        await self._calibrate(runs)
        return runs, encoded - begun

    async def rank(self, runs: Sequence[Run]) -> list[Ranked]:
        """What each of `runs` finds; one call to the store for each collection."""
        questions = [run.questions(self._calibrations.empty(run.spec.name)) for run in runs]
        answers: dict[str, Iterator[list[ScoredPoint]]] = {}
        for name, spec in {run.spec.name: run.spec for run in runs}.items():
            own = [asked for run, asked in zip(runs, questions, strict=True) if run.spec.name == name]
            asked = [question for one in own for question in one.values()]
            counts = await self._counts(name)
            answers[name] = iter(await nearest(self._store, spec, counts, asked) if asked else ())
        return await together(
            [
                self._ranked(run, {name: next(answers[run.spec.name]) for name in asked})
                for run, asked in zip(runs, questions, strict=True)
            ]
        )

    async def _counts(self, collection: str) -> Mapping[VectorName, int]:
        """By name, about how many vectors there are: a hint, for which no search fails or waits long."""
        try:
            # What is known takes no time; a store may have to be asked once.
            async with store_within(_HINT_S):
                return await self._calibrations.counts(collection)
        except ServiceError:
            return {}

    async def _begin(self, queries: Sequence[Query]) -> list[Run]:
        """Finds the collections, and what is wrong before anything is computed."""
        specs: dict[str, CollectionSpec] = {}
        runs = []
        for query in queries:
            with inside(query.path):
                if query.collection not in specs:
                    specs[query.collection] = await self._store.resolve(query.collection)
                spec = specs[query.collection]
                run = Run(replace(query, filter=fitted(query.filter, spec.payload_indexes)), spec)
                _check(run)
            runs.append(run)
        return runs

    async def _fetch(self, runs: Sequence[Run]) -> None:
        """The vectors of the stored points among the terms."""
        wanted: dict[str, dict[str, None]] = {}  # collection -> its ids, each once, in order
        for run in runs:
            for _, stored in run.terms(PointTerm):
                wanted.setdefault(run.spec.name, {})[stored.id] = None
        points = {
            (collection, point.id): point
            for collection, ids in wanted.items()
            for point in await self._store.get(collection, list(ids), payload=NO_PAYLOAD, with_vectors=True)
        }
        for run in runs:
            for i, stored in run.terms(PointTerm):
                with inside(run.query.path):
                    path = run.query.all_terms[i][0]
                    run.put(i, *_vector_of(points.get((run.spec.name, stored.id)), stored, path))

    async def _encode(self, runs: Sequence[Run]) -> None:
        """The vectors of texts and images; one encoder call a model."""
        models: dict[str, list[Run]] = {}
        for run in runs:
            if _needs_encoder(run):
                models.setdefault(run.spec.fingerprint, []).append(run)
        await together([self._encode_alike(alike) for alike in models.values()])

    async def _encode_alike(self, runs: Sequence[Run]) -> None:
        """The same for searches of collections of one model."""
        texts = [(run, i, what.text) for run in runs for i, what in run.terms(TextTerm)]
        images = [(run, i, what.data) for run in runs for i, what in run.terms(ImageTerm)]
        encoding = await self._encoders.encode_for(
            runs[0].spec, [text for *_, text in texts], [data for *_, data in images]
        )
        for run in runs:
            # The bound is one of texts against images; an image in the query lies nearer to all images.
            by_words = all(isinstance(term.what, TextTerm) for term in run.query.terms)
            if by_words and run.query.by_cosine:
                run.weak_match_below = encoding.weak_match_below
        for (run, i, _), outcome in zip(texts, encoding.texts, strict=True):
            run.settle(i, "text", outcome)
        for (run, i, _), outcome in zip(images, encoding.images, strict=True):
            run.settle(i, "image", outcome)

    async def _calibrate(self, runs: Sequence[Run]) -> None:
        """The calibrations of the collections, where a search needs one: both names, or several terms."""
        async with store_within():
            for run in runs:
                averages = run.query.strategy == "average_vector" and len(run.query.terms) > 1
                if run.joins or (averages and run.names):
                    run.calibration = await self._calibrations.get(run.spec.name)

    async def _ranked(self, run: Run, answers: Mapping[str, list[ScoredPoint]]) -> Ranked:
        """The page of hits, with all that was asked of them; `answers` by what `questions` calls them."""
        query, words = run.query, answers.get("words", [])
        found = [answers.get(name, []) for name in run.names]
        if run.joins and all(found) and (run.calibration is None or not run.calibration.both):
            # Written by another process, which has not measured them yet.
            run.calibration = await self._calibrations.renew(run.spec.name)
        scales = None
        if run.joins and run.calibration is not None and run.calibration.both:
            terms = run.weighted()
            scales = {name: run.calibration.scale(terms, name) for name in VECTOR_NAMES}
        least = await self._least(run, found) if query.only_matches and run.names else {}
        if query.by_words:
            deep = replace(query, offset=0, limit=FUSION_DEPTH, score_threshold=None)
            ranked = with_words(candidate_query(query), rank(deep, found, scales, least).hits, words)
        else:
            ranked = rank(candidate_query(query), found, scales, least)
        if not query.by_cosine:
            ranked = replace(ranked, hits=[replace(hit, cosine=0.0) for hit in ranked.hits])
        if query.filter:
            anything = any(found) or bool(words)
            with inside(query.path):
                await self._fields.check(run.spec, query.filter, found=anything, misspelt=True)
        if query.boosts:
            ranked = await self._boosted(run, ranked)
        elif not ranked.hits or fetched_at_once(query):
            return ranked
        points = await self.points(run, [hit.point.id for hit in ranked.hits])
        # A point that was deleted since it was found is no hit any more.
        there = [hit for hit in ranked.hits if hit.point.id in points]
        return replace(ranked, hits=[replace(hit, point=points[hit.point.id]) for hit in there])

    async def points(self, run: Run, ids: Sequence[str]) -> dict[str, StoredPoint]:
        """Those points that are there, by id, as the query wants them."""
        if not ids:
            return {}
        points = await self._store.get(
            run.spec.name, ids, payload=run.query.payload, with_vectors=run.query.with_vectors
        )
        return {point.id: point for point in points}

    async def _boosted(self, run: Run, ranked: Ranked) -> Ranked:
        """The page of hits once their payloads have raised their scores."""
        query, points = run.query, [hit.point for hit in ranked.hits]
        if points and not fetched_at_once(candidate_query(query)):
            ids, fields = [point.id for point in points], fields_of(query.boosts)
            points = await self._store.get(run.spec.name, ids, payload=fields)
        sums = await in_turns(points, lambda point, _: sum_of(query.boosts, point.payload))
        added = {point.id: given for point, given in zip(points, sums, strict=True)}
        if not any(added.values()):
            with inside(query.path):
                await check_fields(self._fields, run.spec, query.boosts)
        return replace(ranked, hits=boosted(query, ranked.hits, added))

    async def _least(self, run: Run, found: Sequence[Sequence[ScoredPoint]]) -> Least:
        """The least cosines of what is no chance, of the vector names that found something."""
        names = [name for name, own in zip(run.names, found, strict=True) if own]
        known = run.calibration or await self._calibrations.get(run.spec.name)
        if known is None or not all(known.counts[name] for name in names):
            known = await self._calibrations.renew(run.spec.name)  # another process has written since
        if known is None:  # all has been deleted
            return {}
        with inside(run.query.path):
            return await self._chance.least(run.spec, known, run.weighted(), names)


def _check(run: Run) -> None:
    """Raises what is wrong with the query; ready vectors take their places."""
    query, spec = run.query, run.spec
    check_query(query)
    check_indexes(query.boosts, spec.payload_indexes)
    check_words(query, spec)
    if query.fingerprint:
        check_fingerprint(spec, query.fingerprint, "the request")
    for i, ready in run.terms(VectorTerm):
        check_dimension(ready.vector, spec, f"{query.all_terms[i][0]}.vector")
        run.put(i, ready.vector, ready.kind)


def _needs_encoder(run: Run) -> bool:
    return bool(run.names) and any(
        isinstance(term.what, TextTerm | ImageTerm) for _, term in run.query.all_terms
    )


def _vector_of(point: StoredPoint | None, term: PointTerm, path: str) -> tuple[Vector, VectorName]:
    if point is None:
        raise NotFound("point", term.id)
    for name in (term.name,) if term.name else VECTOR_NAMES:
        vector: Vector | None = getattr(point, name)
        if vector is not None:
            return vector, name
    raise InvalidArgument(
        f"{path}.vector_name" if term.name else f"{path}.point_id",
        f"point {term.id!r} has no {term.name or 'image or text'} vector",
        "VECTOR_MISSING",
        {"id": term.id},
    )
