"""Samples: all of a small collection, an even share of a large one."""

from __future__ import annotations

import numpy as np
import pytest

from clipsearch.client.types import StoredPoint
from clipsearch.map.sample import IMAGE, TEXT, NothingToShow, lookup, read_sample, word
from tests.unit.clipsearch.map.made import DIMENSION, collection


class Shelf:
    """What a client answers about `count` points, each with a picture and every second with a text."""

    def __init__(self, count: int) -> None:
        self.stored = [
            StoredPoint(
                str(i),
                {"number": float(i)},
                True,
                i % 2 == 0,
                np.full(DIMENSION, i, np.float32),
                np.full(DIMENSION, -i, np.float32) if i % 2 == 0 else None,
            )
            for i in range(count)
        ]
        self.listed = 0

    def get_collection(self, name):
        count = len(self.stored)
        return collection(name=name, points=count, image_vectors=count, text_vectors=(count + 1) // 2)

    def count(self, name, *, filter=None):
        return len(self.stored)

    def list_points(self, name, *, filter, page_size, with_vectors):
        assert with_vectors
        for point in self.stored:
            self.listed += 1
            yield point


def test_a_small_collection_is_read_whole():
    sample = read_sample(Shelf(7), "shop", most=100)
    assert len(sample.items) == sample.points == 7
    assert len(sample.vectors) == 11
    assert (sample.side == IMAGE).sum() == 7
    for vector, item, side in zip(sample.vectors, sample.item, sample.side, strict=True):
        number = int(sample.items[item].id)
        assert vector[0] == (number if side == IMAGE else -number)
        assert side in (IMAGE, TEXT)
    assert sample.values("number")[0] == "0"


def test_of_a_large_collection_the_first_are_read_and_no_more():
    shelf, heard = Shelf(3000), []
    sample = read_sample(shelf, "shop", most=900, on_progress=lambda done, total: heard.append((done, total)))
    assert [item.id for item in sample.items] == [str(i) for i in range(600)]
    assert len(sample.vectors) == 900
    assert sample.points == 3000
    assert shelf.listed <= 601
    assert heard[-1] == (600, 900)


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_show_is_said(count):
    with pytest.raises(NothingToShow, match=f"has {count} points"):
        read_sample(Shelf(count), "shop", most=10)


def test_fields_are_found_by_path_or_name_and_become_words():
    payload = {"a": {"b": True}, "a.b": 2.0, "unit price": 2.5, "x.y": 3, "e": [1]}
    paths = ["a.b", '"a.b"', "unit price", '"unit price"', "x.y", "e", "e.x", "nothing"]
    found = [word(lookup(payload, path)) for path in paths]
    assert found == ["true", "2", "2.5", "2.5", "3", "1", None, None]
