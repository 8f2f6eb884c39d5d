"""Every operation of the server store against a Qdrant that fails in every way: status, retries, recovery."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import numpy as np
import pytest

from clipsearch.serving.errors import DeadlineExceeded, ResourceExhausted, Unavailable
from search_service.breaker import Breaker
from search_service.stores.collection import CollectionSpec
from search_service.stores.filters import Filter, MatchValue
from search_service.stores.protocol import Listing, StoredPoint, VectorQuery
from search_service.stores.qdrant.store import QdrantServer
from tests.ports import kept_port
from tests.unit.search_service.stores.qdrant import COLLECTION, COUNT, Qdrant
from tests.waiting import at_once, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection:UserWarning"),
]

VECTOR = np.array([1, 0], np.float32)
QUESTION = VectorQuery(VECTOR, "image", 3)
CALL = Callable[[QdrantServer], Awaitable[object]]
# What each operation asks for, the RPC that does it, and how often that is tried while it cannot be reached.
OPERATIONS: dict[str, tuple[CALL, str, int]] = {
    "ping": (lambda store: store.ping(), "Qdrant/HealthCheck", 4),
    "resolve": (lambda store: store.resolve(COLLECTION), "Collections/Get", 4),
    "list_collections": (lambda store: store.list_collections(), "Collections/List", 4),
    "get_collection": (lambda store: store.get_collection(COLLECTION), "Points/Count", 4),
    "create_collection": (
        lambda store: store.create_collection(CollectionSpec("new", 2, "f")),
        "Collections/Create",
        1,
    ),
    "delete_collection": (lambda store: store.delete_collection(COLLECTION), "Collections/Delete", 1),
    "set_alias": (lambda store: store.set_alias("a", COLLECTION), "Collections/UpdateAliases", 1),
    "create_payload_index": (
        lambda store: store.create_payload_index(COLLECTION, "k", "keyword"),
        "Points/CreateFieldIndex",
        4,
    ),
    "upsert": (
        lambda store: store.upsert(COLLECTION, [StoredPoint("a", {}, image=VECTOR)]),
        "Points/Upsert",
        4,
    ),
    "upsert of 300 kB": (
        lambda store: store.upsert(COLLECTION, [StoredPoint("a", {"text": 300_000 * "x"}, image=VECTOR)]),
        "Points/Upsert",
        4,
    ),
    "get": (lambda store: store.get(COLLECTION, ["a"]), "Points/Get", 4),
    "delete": (
        lambda store: store.delete(COLLECTION, Filter(must=(MatchValue("a", 1),))),
        "Points/Delete",
        4,
    ),
    "count": (lambda store: store.count(COLLECTION), "Points/Count", 4),
    "scroll": (lambda store: store.scroll(Listing(COLLECTION), limit=3), "Points/Scroll", 4),
    "query": (lambda store: store.query(COLLECTION, [QUESTION]), "Points/QueryBatch", 4),
}
EACH = pytest.mark.parametrize("operation", OPERATIONS)


@pytest.fixture
async def qdrant() -> AsyncIterator[Qdrant]:
    with kept_port() as port:
        server = Qdrant(api_key="a key", port=port)
        await server.start()
        yield server
        await server.stop()


def connect(qdrant: Qdrant, key: str | None = "a key", timeout: float = 10) -> QdrantServer:
    return QdrantServer.connect("http://127.0.0.1:1", key, timeout=timeout, grpc_port=qdrant.port)


@pytest.fixture
async def store(qdrant) -> AsyncIterator[QdrantServer]:
    opened = connect(qdrant)
    yield opened
    await opened.close()


@EACH
async def test_each_operation_works_with_the_key(store, qdrant, operation):
    call, rpc, _ = OPERATIONS[operation]
    await call(store)
    assert qdrant.calls[rpc] >= 1


@EACH
async def test_what_cannot_be_reached_is_unavailable_and_tried_again_only_if_safe(store, qdrant, operation):
    call, rpc, attempts = OPERATIONS[operation]
    qdrant.down = {rpc}
    with pytest.raises(Unavailable) as caught:
        await call(store)
    assert caught.value.reason == "STORE_UNAVAILABLE"
    assert (
        qdrant.calls[rpc] == 1 if attempts == 1 else qdrant.calls[rpc] >= attempts
    )  # some ask several things


@EACH
@pytest.mark.parametrize("key", [None, "another key"])
async def test_a_wrong_key_is_our_fault_and_not_the_callers(qdrant, operation, key):
    store = connect(qdrant, key)
    with pytest.raises(Unavailable, match="the store refuses this service's API key"):
        await OPERATIONS[operation][0](store)
    await store.close()


@EACH
async def test_a_slow_server_is_given_up_at_the_deadline(qdrant, operation):
    store = connect(qdrant, timeout=0.3)
    qdrant.go_on.clear()
    with pytest.raises(DeadlineExceeded):
        await OPERATIONS[operation][0](store)
    await store.close()


@pytest.mark.parametrize("operation", ["ping", "upsert", "delete", "query"])
async def test_a_connection_that_is_cut_is_unavailable_and_the_next_call_works(store, qdrant, operation):
    await store.ping()
    qdrant.go_on.clear()
    call = asyncio.ensure_future(OPERATIONS[operation][0](store))
    await until(lambda: qdrant.at_once > 0)
    await qdrant.stop()
    with pytest.raises(Unavailable):
        await call
    qdrant.go_on.set()
    await qdrant.start()
    await answered(lambda: OPERATIONS[operation][0](store))


@pytest.mark.parametrize("code", ["UNAVAILABLE", "CANCELLED", "INTERNAL", "DEADLINE_EXCEEDED"])
async def test_a_passing_failure_is_tried_again(store, qdrant, code):
    qdrant.failures = [(grpc.StatusCode[code], "")]
    assert await store.count(COLLECTION) == COUNT


async def test_a_full_server_is_told_as_such(store, qdrant):
    qdrant.failures = [(grpc.StatusCode.RESOURCE_EXHAUSTED, "")]
    with pytest.raises(ResourceExhausted) as caught:
        await store.count(COLLECTION)
    assert caught.value.reason == "STORE_BUSY"


async def test_fewer_answers_than_questions_are_no_answer(store, qdrant):
    qdrant.short_by = 1
    with pytest.raises(Unavailable, match="answered 1 of 2"):
        await store.query(COLLECTION, [QUESTION, QUESTION])


@pytest.mark.parametrize("how", ["gone", "frozen"])
async def test_behind_the_breaker_a_server_that_is_away_costs_nobody_time(store, qdrant, how):
    guarded = Breaker("store").guarded(store)
    assert await guarded.count(COLLECTION) == COUNT
    if how == "gone":
        await qdrant.stop()
    else:
        qdrant.go_on.clear()
    waiting = asyncio.ensure_future(guarded.count(COLLECTION))
    for task in (guarded.ping(), waiting):
        with pytest.raises(Unavailable):
            await task
    with pytest.raises(Unavailable):
        at_once(guarded.count(COLLECTION))
    qdrant.go_on.set()
    if how == "gone":
        await qdrant.start()
    await answered(guarded.ping)
    assert await guarded.count(COLLECTION) == COUNT


async def answered(call: Callable[[], Awaitable[object]]) -> None:
    """Makes a call until the server is found again."""
    while True:
        try:
            await call()
            return
        except Unavailable:
            await asyncio.sleep(0.05)
