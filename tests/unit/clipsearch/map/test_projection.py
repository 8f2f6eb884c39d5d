"""Layouts: near stays near, the same seed gives the same map, centring closes the gap."""

from __future__ import annotations

import numpy as np
import pytest

from clipsearch.map.projection import centred, project
from tests.unit.clipsearch.map.made import islands, unit

pytestmark = pytest.mark.slow  # compiles its loops


def test_what_was_centred_has_length_one(sample):
    moved = centred(sample.vectors, sample.side)
    np.testing.assert_allclose(np.linalg.norm(moved, axis=1), 1, atol=1e-5)


def test_centring_leaves_a_vector_that_is_the_mean_at_zero_and_not_at_nan():
    vectors = unit([[1, 0], [1, 0]])
    assert np.isfinite(centred(vectors, np.zeros(2, np.uint8))).all()


def test_the_same_seed_gives_the_same_map_and_another_seed_another(sample):
    first, again, other = project(sample.vectors, 1), project(sample.vectors, 1), project(sample.vectors, 2)
    np.testing.assert_array_equal(first, again)
    assert first.shape == (len(sample.vectors), 2)
    assert first.dtype == np.float32
    assert np.abs(first).max() == pytest.approx(1)
    assert np.isfinite(other).all()


@pytest.mark.parametrize("count", [20, 100], ids=["fewer than their dimensions", "more"])
def test_vectors_are_left_as_they_are(count):
    """Their spread is measured too, before or after they are laid out."""
    vectors = unit(np.random.default_rng(0).standard_normal((count, 64)) + 1)
    kept = vectors.copy()
    project(vectors)
    np.testing.assert_array_equal(vectors, kept)


@pytest.mark.parametrize("each", [8, 200], ids=["t-SNE", "PaCMAP"])
def test_vectors_of_a_kind_lie_together(each):
    sample = islands(each=each)
    kinds = np.array([value[-1] for value in sample.values("kind")])
    positions = project(centred(sample.vectors, sample.side))
    squared = ((positions[:, None] - positions[None]) ** 2).sum(axis=2)
    np.fill_diagonal(squared, np.inf)
    nearest = squared.argmin(axis=1)
    assert (kinds[nearest] == kinds).mean() > 0.98


@pytest.mark.parametrize("vectors", [np.eye(2, 8), np.eye(3, 8), np.eye(4, 8), np.ones((5, 8))])
def test_a_handful_of_vectors_can_be_drawn_even_equal_ones(vectors):
    positions = project(unit(vectors))
    assert positions.shape == (len(vectors), 2)
    assert np.isfinite(positions).all()
