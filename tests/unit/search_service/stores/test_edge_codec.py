"""What travels between the service and an engine arrives as it was sent."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest

from search_service.stores.edge.codec import LENGTH_BYTES, decode, encode, read
from search_service.stores.filters import Filter, HasId
from search_service.stores.protocol import StoredPoint, VectorQuery

POINT = StoredPoint("a", {"price": 3, "tags": ["x", None]}, has_image=True)


def test_vectors_arrive_bit_by_bit() -> None:
    vector = np.random.default_rng(0).standard_normal(512).astype(np.float32)
    query = VectorQuery(vector, "text", limit=7, filter=Filter(must_not=(HasId(("a",)),)), hnsw_ef=64)
    arrived = decode(encode(query)[LENGTH_BYTES:])
    assert np.array_equal(arrived.vector, vector)
    for field in dataclasses.fields(VectorQuery):
        if field.name != "vector":
            assert getattr(arrived, field.name) == getattr(query, field.name)
    point = dataclasses.replace(POINT, image=vector)
    assert np.array_equal(decode(encode(point)[LENGTH_BYTES:]).image, vector)


def test_a_message_cut_off_is_the_end() -> None:
    with pytest.raises(EOFError):
        read(io.BytesIO(encode(1)[:3]))
