"""Numbers of spaces that can be checked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from clipsearch.map.measures import (
    alignment,
    alike,
    measure,
    modality_gap,
    neighbour_purity,
    silhouette,
    uniformity,
)
from clipsearch.map.projection import centred
from clipsearch.map.sample import IMAGE, TEXT, Item, Sample
from tests.unit.clipsearch.map.made import collection, islands, unit


def test_the_gap_is_the_distance_of_the_two_means():
    assert modality_gap(unit([[1, 0]]), unit([[0, 1]])) == pytest.approx(math.sqrt(2))
    assert modality_gap(unit([[1, 0]]), np.empty((0, 2), np.float32)) is None


def test_uniformity_of_two_opposite_vectors_is_minus_eight():
    # squared distance 4, t = 2: log exp(-8)
    assert uniformity(unit([[1, 0], [-1, 0]])) == pytest.approx(-8)
    assert uniformity(unit([[1, 0], [1, 0]])) == pytest.approx(0)
    assert uniformity(unit([[1, 0]])) is None


def test_alignment_compares_the_two_vectors_of_one_point():
    vectors = unit([[1, 0], [0, 1], [1, 0], [1, 0]])
    sample = Sample(
        collection(),
        3,
        (Item("a", {}), Item("b", {}), Item("c", {})),
        vectors,
        np.array([0, 0, 1, 2], np.int32),
        np.array([IMAGE, TEXT, IMAGE, IMAGE], np.uint8),
    )
    assert alignment(sample, vectors) == pytest.approx(2)


def test_alignment_needs_a_point_with_both(sample):
    assert alignment(sample, sample.vectors) is None


def test_purity_and_silhouette_know_groups_from_chance():
    vectors = unit([[1, 0], [1, 0.01], [1, 0.02], [0, 1], [0.01, 1], [0.02, 1]])
    groups = np.array(["a", "a", "a", "b", "b", "b"])
    shuffled = np.array(["a", "b", "a", "b", "a", "b"])
    assert silhouette(vectors, groups) > 0.9 > 0.1 > silhouette(vectors, shuffled)
    purity, chance = neighbour_purity(vectors, groups)
    assert chance == pytest.approx(2 / 5)
    assert purity == pytest.approx(2 / 5)  # all five others are its neighbours: no more than chance
    large = islands(each=30)
    kinds = np.array(large.values("kind"))
    assert neighbour_purity(centred(large.vectors, large.side), kinds)[0] > 0.98


@pytest.mark.parametrize("groups", [["a", "a", "a"], ["a", "b", "c"]], ids=["one group", "groups of one"])
def test_what_has_no_groups_has_no_silhouette(groups):
    assert silhouette(unit(np.eye(3)), np.array(groups)) is None


def test_texts_are_told_from_pictures_of_their_own_and_of_others():
    vectors = unit([[1, 0, 0], [0, 1, 0], [1, 0.1, 0], [0, 0, 1]])
    side = np.array([IMAGE, IMAGE, TEXT, TEXT], np.uint8)
    found = alike(vectors, side, np.array(["cat", "dog", "cat", "no such picture"]))
    assert found.texts == 1
    assert found.own == pytest.approx(1 / math.sqrt(1.01), abs=1e-5)
    assert found.others == pytest.approx(0.1 / math.sqrt(1.01), abs=1e-5)
    assert (found.nearer, found.first) == (1.0, 1.0)
    assert alike(vectors[:2], side[:2], np.array(["cat", "dog"])) is None


def test_centring_is_what_lets_texts_find_their_pictures_across_the_gap(sample):
    raw = measure(sample, sample.vectors, ["kind"])
    moved = measure(sample, centred(sample.vectors, sample.side), ["kind"])
    assert raw.gap > 1.5 > 0.05 > moved.gap
    assert moved.fields["kind"].silhouette > raw.fields["kind"].silhouette + 0.3
    assert moved.fields["kind"].alike.own > moved.fields["kind"].alike.others + 0.5


def test_a_field_that_no_point_has_gives_no_numbers(sample):
    numbers = measure(sample, sample.vectors, ["colour"]).fields["colour"]
    assert (numbers.silhouette, numbers.purity, numbers.alike) == (None, None, None)
