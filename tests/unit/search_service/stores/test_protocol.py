"""What both stores have of the protocol itself."""

from __future__ import annotations

import uuid
from inspect import isfunction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_service.stores.collection import CollectionSpec
from search_service.stores.edge.store import QdrantEdge
from search_service.stores.protocol import ID_NAMESPACE, Page, StoredPoint, VectorStore, point_uuid
from search_service.stores.qdrant.store import QdrantServer

VECTOR = np.array([1, 0], np.float32)
SHARED = {"uuid", "sample"}


@pytest.mark.parametrize("store", [QdrantEdge, QdrantServer])
def test_a_store_has_all_that_the_protocol_asks_for_itself(store):
    asked = {name for name, found in vars(VectorStore).items() if isfunction(found) and name[0] != "_"}
    assert {name for name in asked if getattr(store, name) is getattr(VectorStore, name)} == SHARED


@given(st.text(min_size=1))
def test_a_points_uuid_is_the_uuid5_of_its_id(point_id):
    assert point_uuid(point_id) == str(uuid.uuid5(ID_NAMESPACE, point_id))


async def test_a_point_that_lost_its_vector_while_it_was_read_is_left_out_of_a_sample():
    pages = [
        Page((StoredPoint("a", {}, image=VECTOR), StoredPoint("b", {}, text=VECTOR)), "b"),
        Page((StoredPoint("c", {}, image=VECTOR),), None),
    ]

    class Store(VectorStore):
        async def scroll(self, *_, **__):
            return pages.pop(0)

        async def resolve(self, *_, **__):
            return CollectionSpec("shop", 2, "f")

    sample = await Store().sample("shop", "image", 2)
    assert sample.ids == ("a", "c")
    assert sample.vectors.tolist() == [[1, 0], [1, 0]]
