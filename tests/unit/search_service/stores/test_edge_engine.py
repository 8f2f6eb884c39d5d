"""The engine's own process, without a process."""

from __future__ import annotations

import pytest
import qdrant_edge as qe

from search_service.stores.codec import to_payload
from search_service.stores.edge.codec import pack_point
from search_service.stores.edge.engine import Engine
from search_service.stores.filters import Filter, MatchValue
from search_service.stores.protocol import PayloadChange, PayloadSelection, StoredPoint, point_uuid

WORDS = {"sold": "true", "shops": [{"open": "false"}]}


@pytest.fixture
def engine(tmp_path, spec):
    """With a point `old` whose booleans lie there as words, as they once did, and `new`, as they do now."""
    engine = Engine()
    engine.create(tmp_path / "shard", spec, 1000)
    engine.open(tmp_path / "shard")
    payload = {"sold": True, "shops": [{"open": False}]}
    kept = to_payload("old", {**payload, "_clipsearch_bool": WORDS}, [])
    engine._shard.update(qe.UpdateOperation.upsert_points([qe.Point(point_uuid("old"), {}, kept)]))
    engine.upsert([pack_point(StoredPoint("new", payload))], False)
    yield engine
    engine.shut()


@pytest.mark.parametrize(("key", "value"), [("sold", True), ("shops[].open", False)])
def test_booleans_of_points_that_keep_them_as_words_are_found(engine, key, value):
    assert engine.count(Filter(must=(MatchValue(key, value),))) == 2
    assert engine.count(Filter(must=(MatchValue(key, not value),))) == 0
    assert engine.delete(Filter(must_not=(MatchValue(key, value),))) == 0


def test_booleans_as_words_are_not_told_and_go_with_the_next_change(engine):
    [old] = engine.get(["old"], PayloadSelection(), False)
    assert old.payload == {"sold": True, "shops": [{"open": False}]}
    engine.update_payload(["old"], PayloadChange(set={"sold": False}))
    assert engine.count(Filter(must=(MatchValue("sold", True),))) == 1
    assert engine.count(Filter(must=(MatchValue("sold", False),))) == 1
