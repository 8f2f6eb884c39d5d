from __future__ import annotations

import pytest

from tests.quality.captioned import Captioned
from tests.quality.cases import Plan
from tests.quality.measure import Found
from tests.quality.report import Row, document

IMAGES = [Captioned(f"{n}", b"", f"caption {n // 2}", "") for n in range(8)]
ALIKE, ACROSS = Plan(IMAGES).cases[0], Plan(IMAGES).cases[-1]
FOUND = {
    "default": Found(0.9, 0.98),
    "image": Found(0.95, 0.9),
    "text": Found(0.1, 0.99),
    "rrf": Found(0.2, 0.98),
    "dbsf": Found(0.2, 0.3),
}


@pytest.mark.parametrize(
    ("r1", "r10", "broken"), [(0.87, 0.97, []), (0.86, 0.98, ["R@1"]), (0.9, 0.96, ["R@10"])]
)
def test_bounds_are_those_of_the_better_side_and_a_broken_one_is_named(
    r1: float, r10: float, broken: list[str]
):
    row = Row(ALIKE, {**FOUND, "default": Found(r1, r10)})
    assert [told.split()[0] for told in row.broken()] == broken
    assert document({}, [row])["met"] == (not broken)


def test_across_kinds_the_default_is_held_to_rrf():
    assert Row(ACROSS, FOUND).broken() == []
    assert Row(ACROSS, {**FOUND, "rrf": Found(0.0, 0.981)}).broken() == ["R@10 0.980 < 0.981"]


def test_points_of_one_caption_are_right_for_each_others_words():
    words = Plan(IMAGES).cases[1]
    assert words.right(2) == {"2", "3"}
    assert Plan(IMAGES).cases[0].right(2) == {"2"}


def test_what_is_asked_for_stands_beside_others_only():
    plan = Plan(IMAGES)
    stored = {collection.name: collection for collection in plan.collections}
    for case, held in ((plan.cases[4], "captions"), (plan.cases[5], "images")):
        for number in range(len(IMAGES)):
            others = getattr(stored[case.collection(number)], held).values()
            assert others
            assert IMAGES[number].caption not in {IMAGES[other].caption for other in others}
            everything = {
                **stored[case.collection(number)].images,
                **stored[case.collection(number)].captions,
            }
            assert case.right(number) <= everything.keys()
