from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoder_service.bundle import Precision
from encoder_service.export import ExportError, parity


def unit(rng: np.random.Generator, count: int, dimension: int = 16) -> np.ndarray:
    vectors = rng.normal(size=(count, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(("relevant", "recall"), [([0, 9, 10, 19], 0.5), (range(20), 1.0)])
def test_recall_counts_what_is_among_the_first_ten_of_at_most_ten(
    relevant: Sequence[int], recall: float
) -> None:
    scores = np.arange(20, 0, -1, dtype=np.float32)[np.newaxis]
    assert parity.recall(scores, np.isin(range(20), relevant)[np.newaxis]) == recall


def test_groups_of_equal_vectors_find_one_another_and_never_themselves() -> None:
    vectors = np.repeat(np.eye(12, dtype=np.float32), 3, axis=0)
    assert parity.recall_among(vectors, 3) == 1.0
    # Alone in its group, an item would have nothing to find but itself.
    assert parity.recall_among(np.roll(vectors, 1, axis=0), 3) < 1.0


@given(st.integers(0, 2**32 - 1), st.integers(2, 30))
def test_recall_is_a_share_and_does_not_depend_on_lengths(seed: int, groups: int) -> None:
    vectors = unit(np.random.default_rng(seed), 2 * groups)
    recall = parity.recall_among(vectors, 2)
    assert 0 <= recall <= 1
    assert parity.recall_among(vectors * np.float32(4), 2) == recall


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100))
def test_cosines_do_not_depend_on_lengths(seed: int, factor: float) -> None:
    rng = np.random.default_rng(seed)
    left, right = unit(rng, 5), unit(rng, 5)
    np.testing.assert_allclose(
        parity.cosines(left * np.float32(factor), right), parity.cosines(left, right), atol=1e-6
    )


def test_a_precision_that_turns_the_vectors_fails_on_the_mean_cosine() -> None:
    rng = np.random.default_rng(0)
    vectors = unit(rng, 40)
    turned = vectors + np.float32(0.1) * rng.normal(size=vectors.shape).astype(np.float32)
    mean, lowest, _ = parity.against_fp32("text", "int8", turned, vectors, 2)
    assert not mean.passed
    assert lowest.bound is None
    assert lowest.value <= mean.value < parity.MIN_MEAN_COSINE


def test_a_precision_that_loses_retrieval_fails_on_r_at_10() -> None:
    rng = np.random.default_rng(0)
    fp32 = np.repeat(unit(rng, 30), 2, axis=0)
    shuffled = rng.permutation(fp32)
    lost = parity.against_fp32("text", "int8", shuffled, fp32, 2)[2]
    assert not lost.passed
    assert lost.value > 50


@pytest.mark.parametrize(
    ("precision", "noise", "passed"),
    [("fp32", 2e-6, True), ("fp32", 5e-5, False), ("int8", 0.001, True), ("int8", 0.1, False)],
)
def test_fp32_must_not_feel_its_batch_and_int8_may_a_little(
    precision: Precision, noise: float, passed: bool
) -> None:
    rng = np.random.default_rng(0)
    vectors = unit(rng, 8)
    moved = vectors + np.float32(noise) * rng.normal(size=vectors.shape).astype(np.float32)
    assert parity.batch_mates("text", precision, moved, vectors).passed is passed


def test_numbers_that_are_none_are_an_error_and_no_failed_check() -> None:
    vectors = unit(np.random.default_rng(0), 4)
    broken = vectors.copy()
    broken[1, 1] = np.nan
    with pytest.raises(ExportError, match="not finite"):
        parity.against_torch("image", broken, vectors)
