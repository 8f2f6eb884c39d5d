"""The store of a Qdrant server: what calls send, how failures are told, what is tried again."""

from __future__ import annotations

import asyncio
import math
import socket
import time

import grpc
import numpy as np
import pytest
from qdrant_client import grpc as wire

from clipsearch.serving.deadline import deadline, deadline_at
from clipsearch.serving.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from search_service.stores.collection import CollectionSpec
from search_service.stores.filters import Filter, MatchValue
from search_service.stores.protocol import StoredPoint, VectorQuery
from search_service.stores.qdrant import calls
from search_service.stores.qdrant.calls import MOST_TRIES
from search_service.stores.qdrant.errors import StoreDataLoss
from search_service.stores.qdrant.known import Known
from search_service.stores.qdrant.spec import Limits
from search_service.stores.qdrant.store import QdrantServer
from tests.waiting import until

pytestmark = pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection:UserWarning")
QUESTION = VectorQuery(np.array([1, 0], np.float32), "image", 3)


@pytest.fixture
def store(server_store: QdrantServer) -> QdrantServer:
    return server_store


@pytest.mark.parametrize(
    ("code", "details", "error"),
    [
        (grpc.StatusCode.NOT_FOUND, "Collection `x` doesn't exist!", NotFound),
        (grpc.StatusCode.ALREADY_EXISTS, "", AlreadyExists),
        (grpc.StatusCode.INVALID_ARGUMENT, "Collection `x` already exists!", AlreadyExists),
        (grpc.StatusCode.INVALID_ARGUMENT, "Wrong input", InvalidArgument),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "", ResourceExhausted),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "", DeadlineExceeded),
        (grpc.StatusCode.FAILED_PRECONDITION, "Locked", FailedPrecondition),
        (grpc.StatusCode.UNIMPLEMENTED, "", FailedPrecondition),
        (grpc.StatusCode.DATA_LOSS, "", StoreDataLoss),
        (grpc.StatusCode.UNKNOWN, "", Unavailable),
        (grpc.StatusCode.INTERNAL, "1 of 1 read operations failed: currently unavailable", Unavailable),
        (
            grpc.StatusCode.INTERNAL,
            "No space left on device: WAL buffer size exceeds available disk space",
            ResourceExhausted,
        ),
        (grpc.StatusCode.UNAUTHENTICATED, "", Unavailable),
        (grpc.StatusCode.PERMISSION_DENIED, "", Unavailable),
    ],
)
async def test_what_the_server_says_becomes_our_error(store, qdrant, code, details, error, monkeypatch):
    monkeypatch.setattr(calls, "_SETTLES_WITHIN_S", 0.5)
    qdrant.failures = [(code, details)] * 30
    with pytest.raises(error):
        await store.count("x")


async def test_a_server_that_is_not_there_is_unavailable():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        store = QdrantServer.connect("http://127.0.0.1:1", None, timeout=5, grpc_port=port)
        with pytest.raises(Unavailable) as error:
            await store.ping()
        assert error.value.reason == "STORE_UNAVAILABLE"
        await store.close()


async def test_a_slow_server_meets_the_callers_deadline_to_the_fraction_of_a_second(store, qdrant):
    qdrant.go_on.clear()
    with pytest.raises(DeadlineExceeded), deadline_at(time.monotonic() + 0.4):
        await store.query("x", [QUESTION])


async def test_settings_are_asked_for_those_with_later_deadlines_as_well(store, monkeypatch):
    deadlines: list[float] = []

    async def look_up(name: str) -> Known:
        deadlines.append(deadline())
        return Known(CollectionSpec(name, 2, "f"), Limits(), float("inf"))

    monkeypatch.setattr(store, "_look_up", look_up)
    with deadline_at(time.monotonic() + 60):
        assert (await store.resolve("x")).name == "x"
    assert deadlines == [math.inf]


def points(count: int) -> list[StoredPoint]:
    return [StoredPoint(f"p{n}", {"n": n}, image=np.array([1, 0], np.float32)) for n in range(count)]


@pytest.fixture
def collection(store) -> str:
    """One whose settings the store has just read."""
    store._known["x"] = Known(CollectionSpec("x", 2, "f"), Limits(), float("inf"))
    return "x"


async def test_a_large_write_goes_in_parts_of_which_a_few_are_on_their_way(store, qdrant, collection):
    qdrant.go_on.clear()
    writing = asyncio.create_task(store.upsert(collection, points(4000)))
    await until(lambda: qdrant.at_once >= 2)
    qdrant.go_on.set()
    await writing
    # Over several connections, so not in their order.
    assert sorted(len(request.points) for request in qdrant.asked) == [160] + [256] * 15
    sent = {point.payload["n"].integer_value for request in qdrant.asked for point in request.points}
    assert sent == set(range(4000))
    assert qdrant.most_at_once <= 8
    assert all(
        request.wait and request.ordering.type == wire.WriteOrderingType.Strong for request in qdrant.asked
    )


async def test_of_points_with_one_id_in_several_parts_the_last_is_sent(store, qdrant, collection):
    await store.upsert(
        collection, [*points(257), StoredPoint("p0", {"n": 257}, image=np.array([1, 0], np.float32))]
    )
    sent = [point.payload["n"].integer_value for request in qdrant.asked for point in request.points]
    assert sorted(sent) == list(range(1, 258))


async def test_a_write_fails_with_its_first_part_that_fails(store, qdrant, collection):
    qdrant.failures = [(grpc.StatusCode.RESOURCE_EXHAUSTED, "")]
    with pytest.raises(ResourceExhausted):
        await store.upsert(collection, points(4000))
    assert len(qdrant.asked) < 16, "the rest is given up"


async def test_the_server_is_told_to_give_up_when_the_caller_does(store, qdrant, collection):
    qdrant.go_on.clear()
    with pytest.raises(DeadlineExceeded), deadline_at(time.monotonic() + 0.4):
        await store.upsert(collection, points(300))
    await until(lambda: qdrant.at_once == 0)  # cancelled on the server too


async def test_calls_take_turns_on_several_connections(store, qdrant):
    await asyncio.gather(*(store.count("x") for _ in range(9)))
    assert len(qdrant.peers) == 3


async def test_a_delete_is_tried_again_and_tells_what_was_there_before_the_first_try(store, qdrant):
    condition = Filter(must=(MatchValue("a", 1),))
    qdrant.down = {"Points/Delete"}
    with pytest.raises(Unavailable):
        await store.delete("x", condition)
    assert qdrant.calls == {"Points/Count": 1, "Points/Delete": MOST_TRIES}


async def test_a_wrong_key_is_told_at_once(store, qdrant):
    qdrant.api_key = "another"
    with pytest.raises(Unavailable, match="refuses this service's API key"):
        await store.count("x")
    assert len(qdrant.asked) == 1


async def test_a_write_that_the_server_still_works_on_is_not_taken_for_done(store, qdrant):
    qdrant.status = wire.UpdateStatus.WaitTimeout
    with pytest.raises(DeadlineExceeded):
        await store.delete("x", ["a"])


async def test_ordering_consistency_and_key_travel(store, qdrant):
    await store.query("x", [QUESTION, QUESTION])
    (asked,) = qdrant.asked
    assert asked.read_consistency.type == wire.ReadConsistencyType.Majority
    assert len(asked.query_points) == 2
    assert qdrant.metadata["api-key"] == "a key"
    await store.delete("x", Filter(must=(MatchValue("a", 1),)))
    assert qdrant.asked[-1].ordering.type == wire.WriteOrderingType.Strong
    assert qdrant.asked[-1].wait


async def test_insert_only_leaves_a_point_that_came_after_it_was_asked_for(memory, monkeypatch):
    store, _ = memory
    await store.create_collection(CollectionSpec("shop", 2, "f"))
    vector = np.array([1, 0], np.float32)

    async def nothing(*_: object, **__: object) -> frozenset[str]:
        await store.upsert("shop", [StoredPoint("a", {"first": True}, image=vector)])
        return frozenset()

    monkeypatch.setattr(store, "present", nothing)
    late = [StoredPoint(name, {"first": False}, image=vector) for name in ("a", "b")]
    assert await store.upsert("shop", late, insert_only=True) == frozenset()
    found = await store.get("shop", ["a", "b"])
    assert [point.payload["first"] for point in found] == [True, False]


async def test_a_field_that_is_asked_for_and_excluded_is_excluded_by_a_filter_of_its_own(store, qdrant):
    red = MatchValue("colour", "red")
    await store.count("x", Filter(should=(red, MatchValue("colour", "blue")), must_not=(red,)))
    (asked,) = qdrant.asked
    assert not asked.filter.must_not
    assert [condition.filter.must_not[0].field.key for condition in asked.filter.must] == ["colour"]


async def test_timeouts_stay_under_the_limit_of_strict_mode(store, qdrant, collection):
    store._known[collection] = Known(CollectionSpec(collection, 2, "f"), Limits(timeout=2), float("inf"))
    await store.query(collection, [QUESTION])
    await store.upsert(collection, points(1))
    assert [request.timeout for request in qdrant.asked] == [2, 2]


async def test_a_count_page_by_page_meets_the_callers_deadline(store, qdrant, collection):
    spec = CollectionSpec(collection, 2, "f")
    store._known[collection] = Known(spec, Limits(allows_exact=False), float("inf"))
    qdrant.go_on.clear()
    with pytest.raises(DeadlineExceeded), deadline_at(time.monotonic() + 0.1):
        await store.count(collection, Filter(must=(MatchValue("a", 1),)))


async def test_a_server_that_is_too_old_is_told(store, qdrant):
    await store.ping()
    qdrant.version = "1.15.3"
    with pytest.raises(Unavailable, match=r"Qdrant 1\.15\.3 is too old, 1\.16 or later is needed"):
        await store.ping()
