"""The vectors are what their module says, the same on every machine, and the queries are in no collection."""

from __future__ import annotations

import numpy as np
import pytest

from clipsearch.filters.convert import to_proto
from tests.bench.search import corpus
from tests.bench.search.corpus import BLOCK, Matrix


@pytest.fixture(scope="module")
def block() -> corpus.Block:
    return next(corpus.blocks(BLOCK))


def test_a_smaller_collection_is_the_beginning_of_a_larger_one(block: corpus.Block) -> None:
    [small] = corpus.blocks(300)
    first, second = corpus.blocks(BLOCK + 5)
    assert np.array_equal(small.vectors, block.vectors[:300])
    assert small.payload(7) == first.payload(7)
    assert (second.first, len(second.vectors), second.ids()[0]) == (BLOCK, 5, f"photo-{BLOCK:08}")
    assert corpus.point_number(second.ids()[4]) == BLOCK + 4


def test_queries_are_of_the_mixture_but_no_points(block: corpus.Block) -> None:
    queries: Matrix = corpus.queries(50)
    nearest = (queries @ block.vectors.T).max(axis=1)
    assert nearest.max() < 0.999
    assert np.median(nearest) > 0.7


def test_filters_let_through_what_they_say(block: corpus.Block) -> None:
    allowed = corpus.allowed(3, block.shops, block.prices)
    assert allowed.mean() == pytest.approx(0.025, abs=0.006)
    place = int(np.flatnonzero(allowed)[0])
    assert block.payload(place)["shop"] == "shop 03"
    assert block.payload(place)["price"] < 500


def test_expressions_are_the_masks_in_the_clients_words() -> None:
    filter = to_proto(corpus.filter(3))
    shop, price = (condition.field for condition in filter.must)
    assert (shop.key, shop.match.keyword) == ("shop", "shop 03")
    assert (price.key, price.range.lt) == ("price", 500)
