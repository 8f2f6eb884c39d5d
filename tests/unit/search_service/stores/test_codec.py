from __future__ import annotations

import numpy as np

from search_service.stores.codec import sampled
from search_service.stores.collection import CollectionSpec
from search_service.stores.protocol import Page, StoredPoint

VECTOR = np.array([1, 0], np.float32)


async def test_a_point_that_lost_its_vector_while_it_was_read_is_left_out_of_a_sample():
    pages = [
        Page((StoredPoint("a", {}, image=VECTOR), StoredPoint("b", {}, text=VECTOR)), "b"),
        Page((StoredPoint("c", {}, image=VECTOR),), None),
    ]

    async def scroll(listing, **asked):
        return pages.pop(0)

    sample = await sampled(scroll, CollectionSpec("shop", 2, "f"), "image", 2)
    assert sample.ids == ("a", "c")
    assert sample.vectors.tolist() == [[1, 0], [1, 0]]
