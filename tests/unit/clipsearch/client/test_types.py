"""What can be done with what comes back."""

from __future__ import annotations

import numpy as np
import pytest

from clipsearch.client.inputs import Point
from clipsearch.client.types import StoredPoint

VECTOR = np.array([0.6, 0.8], np.float32)


def test_a_stored_point_can_be_written_back_with_another_payload():
    stored = StoredPoint("a", {"n": 1}, True, False, image_vector=VECTOR)
    assert stored.to_point() == Point("a", image_vector=VECTOR, payload={"n": 1})
    assert stored.to_point({**stored.payload, "tag": "cat"}).payload == {"n": 1, "tag": "cat"}
    assert stored.to_point({}).payload == {}
    both = StoredPoint("b", {}, True, True, image_vector=VECTOR, text_vector=VECTOR)
    assert both.to_point() == Point("b", image_vector=VECTOR, text_vector=VECTOR)


@pytest.mark.parametrize("vectors", [{}, {"image_vector": VECTOR}, {"text_vector": VECTOR}])
def test_a_point_without_its_vectors_is_not_written_back_poorer(vectors):
    with pytest.raises(ValueError, match="with_vectors=True"):
        StoredPoint("a", {}, True, True, **vectors).to_point()
