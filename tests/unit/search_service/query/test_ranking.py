"""What each vector name is asked, how many points that fetches, and how one ranking comes of the answers."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_service.query.calibration import Scale
from search_service.query.queries import Fusion, PointTerm, Query, Term, TextTerm
from search_service.query.ranking import (
    candidates,
    fetched_at_once,
    fuse,
    rank,
    vector_queries,
    with_defaults,
)
from search_service.stores.collection import (
    BinaryEncoding,
    CollectionSpec,
    Quantization,
    QuantizationParams,
)
from search_service.stores.filters import Filter, HasId, IsNull
from search_service.stores.protocol import (
    PayloadSelection,
    ScoredPoint,
    StoredPoint,
    VectorQuery,
)

VECTORS = {"image": np.array([1, 0], np.float32), "text": np.array([0, 1], np.float32)}
SCALES = {"image": Scale(0.6, 0.1, own=1), "text": Scale(0.1, 0.05, own=0)}


def query(**fields) -> Query:
    return Query("c", (Term(TextTerm("x")),), **fields)


def ranking(*pairs: tuple[str, float]) -> list[ScoredPoint]:
    ordered = sorted(pairs, key=lambda pair: (-pair[1], pair[0]))
    return [ScoredPoint(StoredPoint(id, {}), cosine) for id, cosine in ordered]


def found(**cosines: float) -> list[ScoredPoint]:
    return ranking(*cosines.items())


@pytest.mark.parametrize(("fusion", "limit"), [("calibrated", 42), ("rrf", 500), ("dbsf", 500)])
def test_both_names_are_asked_without_payloads_and_thresholds(fusion, limit):
    asked = query(target="any", limit=35, offset=7, score_threshold=0.2, fusion=fusion)
    image, text = vector_queries(asked, VECTORS)
    assert (image.name, text.name) == ("image", "text")
    for one in (image, text):
        assert one.vector is VECTORS[one.name]
        assert (one.offset, one.limit, one.score_threshold) == (0, limit, None)
        assert one.payload == PayloadSelection(include=())


def test_stored_terms_are_left_out_besides_the_callers_filter():
    terms = (Term(PointTerm("a")), Term(PointTerm("b"), -1), Term(PointTerm("a")))
    filter = Filter(must=(IsNull("x"),), must_not=(IsNull("y"),))
    [asked] = vector_queries(Query("c", terms, target="image", filter=filter), {"image": VECTORS["image"]})
    assert asked.filter == Filter(must=(IsNull("x"),), must_not=(IsNull("y"), HasId(("a", "b"))))


@pytest.mark.parametrize("empty", ["image", "text"])
@pytest.mark.parametrize("fusion", get_args(Fusion))
def test_one_name_alone_keeps_its_cosines(empty, fusion):
    there = found(a=0.9, b=0.4, c=0.3)
    both = [[], there] if empty == "image" else [there, []]
    ranked = rank(query(offset=1, limit=1, score_threshold=0.35, fusion=fusion), both, None)
    assert not ranked.fused
    [hit] = ranked.hits
    assert (hit.point.id, hit.score, hit.cosine, hit.image_rank, hit.text_rank) == ("b", 0.4, 0.4, 0, 0)
    assert hit.matched == ("text" if empty == "image" else "image")


def test_a_point_has_the_larger_of_its_scores_whatever_name_found_it():
    ranked = rank(query(), [found(a=0.8, b=0.6), found(b=0.3, c=0.05)], SCALES)
    assert ranked.fused
    assert [(hit.point.id, hit.matched, hit.cosine) for hit in ranked.hits] == [
        ("a", "image", 0.8),
        ("b", "text", 0.3),
        ("c", "text", 0.05),
    ]
    assert [hit.score for hit in ranked.hits] == pytest.approx([2, 0.25 * 4, 0.6 * -1])
    assert [(hit.image_rank, hit.text_rank) for hit in ranked.hits] == [(1, 0), (2, 1), (0, 2)]


def test_the_threshold_is_held_against_the_fused_score():
    both = [found(a=0.3, b=0.2), found(a=0.9)]
    ranked = rank(query(score_threshold=1.5 / 61, fusion="rrf"), both, None)
    assert ranked.fused
    assert [hit.point.id for hit in ranked.hits] == ["a"]
    assert ranked.hits[0].score == pytest.approx(2 / 61)


def test_a_short_page_is_asked_for_at_once():
    asked = query(target="any", limit=5, payload=PayloadSelection(include=("a",)))
    assert [one.payload for one in vector_queries(asked, VECTORS)] == [asked.payload] * 2
    assert fetched_at_once(asked)
    assert not fetched_at_once(query(target="any", limit=5, with_vectors=True))


# How many points are fetched

COMPRESSED = [
    ("scalar", {}),
    *(("turbo", {"bits": bits}) for bits in (0.0, 1.0, 1.5, 2.0, 4.0, 8.0)),
    *(("product", {"compression": times}) for times in (4, 8, 16, 32, 64)),
    *(("binary", {"encoding": encoding}) for encoding in get_args(BinaryEncoding)),
]
QUERY = VectorQuery(np.zeros(4, dtype=np.float32), "image", 10)


def spec(quantization: Quantization, **params: object) -> CollectionSpec:
    return CollectionSpec(
        "c", 512, "f", quantization=quantization, quantization_params=QuantizationParams(**params)
    )


BINARY = spec("binary")


@pytest.mark.parametrize(("quantization", "params"), COMPRESSED)
def test_every_compression_that_there_is_fetches_more(quantization, params):
    made = spec(quantization, **params)
    asked = with_defaults(QUERY, made, {})
    assert asked.oversampling * QUERY.limit == pytest.approx(candidates(made))
    assert asked.rescore
    assert asked.oversampling > 1


@pytest.mark.parametrize("ef_construct", [0, 100])  # of Edge and of a server, where nothing was said
def test_whole_vectors_are_fetched_once_with_a_smaller_beam_than_the_engines(ef_construct):
    assert candidates(spec("none")) == 0
    asked = with_defaults(QUERY, replace(spec("none"), hnsw_ef_construct=ef_construct), {})
    assert asked == replace(QUERY, hnsw_ef=asked.hnsw_ef)
    assert QUERY.limit < asked.hnsw_ef < 100


@pytest.mark.parametrize(("count", "beam"), [(10, 48), (100_000, 48), (1_000_000, 96), (10_000_000, 192)])
def test_more_vectors_are_searched_with_a_wider_beam(count, beam):
    counts = {QUERY.name: count, "text" if QUERY.name == "image" else "image": 10**9}
    assert with_defaults(QUERY, spec("none"), counts).hnsw_ef == beam


@pytest.mark.parametrize("said", [{"hnsw_ef": 20}, {"exact": True}])
def test_a_beam_that_the_caller_or_the_collection_says_stands(said):
    query = replace(QUERY, **said)
    assert with_defaults(query, spec("none"), {}) is query
    assert with_defaults(QUERY, replace(spec("none"), hnsw_ef_construct=400), {}) is QUERY


@pytest.mark.parametrize(
    "said", [{"oversampling": 2.0}, {"oversampling": 1.0}, {"exact": True}, {"rescore": False}]
)
def test_what_the_caller_says_stands(said):
    query = replace(QUERY, **said)
    assert with_defaults(query, BINARY, {}) is query


def test_lists_of_every_length_come_of_the_same_candidates_up_to_a_quarter_of_them():
    fetched = {
        round((offset + limit) * with_defaults(asked, BINARY, {}).oversampling)
        for limit, offset in ((1, 0), (10, 0), (50, 100), (160, 0))
        for asked in [replace(QUERY, limit=limit, offset=offset)]
    }
    assert fetched == {candidates(BINARY)}
    assert with_defaults(replace(QUERY, limit=500), BINARY, {}).oversampling == 4


# One ranking of two

ids = st.text("abcdef", min_size=1, max_size=3)
cosines = st.integers(-1000, 1000).map(lambda n: n / 1000)
rankings = st.dictionaries(ids, cosines, max_size=12).map(lambda cosines: ranking(*cosines.items()))
methods = st.sampled_from(["rrf", "dbsf"])


def test_rrf_by_hand():
    hits = fuse(ranking(("a", 0.3), ("b", 0.2)), ranking(("b", 0.9), ("c", 0.8)), "rrf", {})
    assert [hit.point.id for hit in hits] == ["b", "a", "c"]
    assert [hit.score for hit in hits] == pytest.approx([1 / 61 + 1 / 62, 1 / 61, 1 / 62])
    assert (hits[0].image_rank, hits[0].text_rank, hits[0].matched, hits[0].cosine) == (2, 1, "text", 0.9)
    assert (hits[1].image_rank, hits[1].text_rank, hits[1].matched, hits[1].cosine) == (1, 0, "image", 0.3)


def test_dbsf_by_hand():
    image, text = ranking(("a", 0.3), ("b", 0.1)), ranking(("c", 0.9), ("d", 0.5))
    hits = fuse(image, text, "dbsf", {})
    # Two values lie one standard deviation from their mean: 0.5 +- 1/6 in both.
    assert [(hit.point.id, round(hit.score, 6)) for hit in hits] == [
        ("a", 0.666667),
        ("c", 0.666667),
        ("b", 0.333333),
        ("d", 0.333333),
    ]


def test_dbsf_of_equal_cosines_is_a_half():
    assert [hit.score for hit in fuse(ranking(("a", 0.3), ("b", 0.3)), [], "dbsf", {})] == [0.5, 0.5]


@pytest.mark.parametrize("method", ["rrf", "dbsf"])
def test_captions_do_not_win_by_their_higher_cosines(method):
    random = np.random.default_rng(5)
    images = ranking(*((f"p{i}", float(c)) for i, c in enumerate(random.uniform(0.15, 0.35, 20))))
    captions = ranking(*((f"c{i}", float(c)) for i, c in enumerate(random.uniform(0.60, 0.95, 20))))
    by_cosine = sorted([*images, *captions], key=lambda found: -found.score)
    assert {found.point.id[0] for found in by_cosine[:10]} == {"c"}
    top = [hit.point.id[0] for hit in fuse(images, captions, method, {})[:10]]
    assert 3 <= top.count("p") <= 7


@given(rankings, rankings, methods)
def test_every_candidate_comes_back_once_in_order(image, text, method):
    hits = fuse(image, text, method, {})
    assert sorted(hit.point.id for hit in hits) == sorted({c.point.id for c in [*image, *text]})
    assert hits == sorted(hits, key=lambda hit: (-hit.score, hit.point.id))


@given(rankings, rankings, methods)
def test_a_hit_says_truly_what_matched(image, text, method):
    image_cosines, text_cosines = ({c.point.id: c.score for c in found} for found in (image, text))
    for hit in fuse(image, text, method, {}):
        assert (hit.image_rank > 0) == (hit.point.id in image_cosines)
        assert (hit.text_rank > 0) == (hit.point.id in text_cosines)
        assert hit.cosine == (image_cosines if hit.matched == "image" else text_cosines)[hit.point.id]
        if hit.image_rank and hit.text_rank:
            assert hit.matched == ("image" if hit.image_rank <= hit.text_rank else "text")
