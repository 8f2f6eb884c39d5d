"""Weighted terms become one vector."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from clipsearch.serving.errors import InvalidArgument
from search_service.query.queries import compose

weights = st.floats(0.0625, 100, width=32) | st.floats(-100, -0.0625, width=32)


def unit(*numbers: float) -> np.ndarray:
    vector = np.array(numbers, np.float32)
    return vector / np.linalg.norm(vector)


def random_units(seed: int, count: int) -> list[np.ndarray]:
    return [unit(*row) for row in np.random.default_rng(seed).normal(size=(count, 8))]


def test_one_term_is_itself_whatever_its_weight():
    vector = unit(1, 2, 3)
    assert compose([vector], [0.5]) is vector


@given(st.integers(0, 2**32 - 1), st.lists(weights, min_size=1, max_size=16), st.floats(0.1, 10))
def test_the_sum_is_normalised_and_only_ratios_of_weights_matter(seed, weights, factor):
    vectors = random_units(seed, len(weights))
    total = sum(weight * vector.astype(np.float64) for weight, vector in zip(weights, vectors, strict=True))
    assume(np.linalg.norm(total) > 1e-3 * sum(map(abs, weights)))
    assume(len(weights) > 1 or weights[0] > 0)
    query = compose(vectors, weights)
    assert query.dtype == np.float32
    assert np.linalg.norm(query) == pytest.approx(1, abs=1e-5)
    assert query == pytest.approx(total / np.linalg.norm(total), abs=1e-5)
    assert compose(vectors, [factor * weight for weight in weights]) == pytest.approx(query, abs=1e-5)


@pytest.mark.parametrize("weight", [1.0, 0.001, 100.0])
def test_terms_that_cancel_out_are_refused(weight):
    vector = unit(*np.random.default_rng(3).normal(size=512))
    with pytest.raises(InvalidArgument, match="cancel") as caught:
        compose([vector, vector], [weight, -weight])
    assert (caught.value.field, caught.value.reason) == ("query", "QUERY_ZERO")
