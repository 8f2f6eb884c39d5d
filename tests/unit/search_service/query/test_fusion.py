"""Two rankings become one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_service.query.ranking import fuse
from search_service.stores.protocol import ScoredPoint, StoredPoint

ids = st.text("abcdef", min_size=1, max_size=3)
cosines = st.integers(-1000, 1000).map(lambda n: n / 1000)
rankings = st.dictionaries(ids, cosines, max_size=12).map(lambda cosines: ranking(*cosines.items()))
methods = st.sampled_from(["rrf", "dbsf"])


def ranking(*pairs: tuple[str, float]) -> list[ScoredPoint]:
    ordered = sorted(pairs, key=lambda pair: (-pair[1], pair[0]))
    return [ScoredPoint(StoredPoint(id, {}), cosine) for id, cosine in ordered]


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
