"""All pairs and nothing but them, whatever the vectors are like and wherever tiles end."""

from __future__ import annotations

import numpy as np
import pytest

from clipsearch.duplicates import near as module
from clipsearch.duplicates.near import Groups, near


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def spread(count: int, dimension: int) -> np.ndarray:
    """All around, a fifth of them near another, at distances that straddle the bound."""
    random = np.random.default_rng(dimension)
    vectors = random.standard_normal((count, dimension))
    near = random.integers(0, count, count // 5)
    noise = random.standard_normal((len(near), dimension)) * random.uniform(0, 0.6, (len(near), 1))
    vectors[random.integers(0, count, len(near))] = vectors[near] + noise
    return unit(vectors)


def crowded(count: int, dimension: int) -> np.ndarray:
    """In one corner, as those of a model are: most pairs are near, or nearly."""
    random = np.random.default_rng(dimension)
    return unit(random.standard_normal((count, dimension)) * 0.22 + 1)


def equal(count: int, dimension: int) -> np.ndarray:
    return unit(np.ones((count, dimension)))


@pytest.mark.parametrize("make", [spread, crowded, equal])
@pytest.mark.parametrize("dimension", [3, 40, 256])
def test_pairs_are_those_that_comparing_all_finds(monkeypatch, make, dimension):
    monkeypatch.setattr(module, "_ROWS", 64)
    monkeypatch.setattr(module, "_COLUMNS", 96)
    vectors, seen = make(300, dimension), []
    found = [
        pair
        for one, other in near(vectors, 0.95, seen.append)
        for pair in zip(one.tolist(), other.tolist(), strict=True)
    ]
    cosines = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    above = {(i, j) for i, j in np.argwhere(cosines >= 0.95 + 1e-6).tolist() if i < j}
    maybe = {(i, j) for i, j in np.argwhere(cosines >= 0.95 - 1e-6).tolist() if i < j}
    assert len(above) > 10
    assert len(found) == len(set(found))
    assert above <= set(found) <= maybe
    assert seen == [64, 128, 192, 256, 300]


def test_groups_are_what_pairs_connect():
    random = np.random.default_rng(1)
    for pairs in (0, 30, 100, 2000):
        groups, label = Groups(200), list(range(200))
        for _ in range(3):
            one, other = random.integers(0, 200, (2, pairs))
            groups.join(one, other)
            for a, b in zip(one, other, strict=True):
                old, new = label[a], label[b]
                label = [new if mine == old else mine for mine in label]
        found = [sorted(group.tolist()) for group in groups.members()]
        sets = [[i for i in range(200) if label[i] == name] for name in set(label)]
        assert sorted(found) == sorted(group for group in sets if len(group) > 1)
        assert [len(group) for group in found] == sorted(map(len, found), reverse=True)


def test_the_first_of_a_group_is_near_to_the_most():
    groups = Groups(6)
    groups.join(np.array([0, 1, 2]), np.array([3, 3, 3]))
    assert groups.members()[0][0] == 3
