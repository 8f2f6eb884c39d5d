"""What travels over both hops, client to search service to encoder: deadlines, cancellations, and no more
retries than one hop makes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from clipsearch.channel import connection
from clipsearch.search.v1 import search_pb2, search_pb2_grpc
from clipsearch.serving.calls import CallInterceptor
from clipsearch.serving.errors import Unavailable
from search_service import deadline
from search_service.__main__ import services
from search_service.breaker import Breaker
from search_service.encoder.client import EncoderClient
from search_service.query.calibration_cache import CalibrationCache
from search_service.settings import SearchSettings
from search_service.stores.collection import CollectionSpec
from search_service.stores.edge.store import QdrantEdge
from tests.ports import OWN_PORT
from tests.unit.search_service.served import DIMENSION, FakeEncoder, refused, term
from tests.waiting import until


@pytest.fixture
async def search(encoder, tmp_path) -> AsyncIterator[search_pb2_grpc.SearchServiceStub]:
    """The service behind its breakers, called over a channel as the clients make it."""
    store = await QdrantEdge.open(tmp_path)
    await store.create_collection(CollectionSpec("c", DIMENSION, encoder.fingerprint))
    client = EncoderClient(encoder.address, timeout_s=30)
    server = grpc.aio.server(interceptors=[CallInterceptor()], options=OWN_PORT)
    guarded = Breaker("store").guarded(store)
    calibrations = CalibrationCache(guarded)
    for service in services(guarded, calibrations, SearchSettings(), Breaker("encoder").guarded(client)):
        service.add(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with connection.aio_channel(f"127.0.0.1:{port}") as channel:
        yield search_pb2_grpc.SearchServiceStub(channel)
    await server.stop(None)
    await calibrations.close()
    await client.close()
    await store.close()


REQUEST = search_pb2.SearchRequest(collection="c", query=[term("words")])


async def test_retries_do_not_multiply(search, encoder):
    encoder.error = Unavailable("encoder", "the server is stopping")
    why = await refused(search.Search(REQUEST))
    assert (why.code, why.reason, why.retry_after_s) == ("UNAVAILABLE", "ENCODER_UNAVAILABLE", 1.0)
    assert len(encoder.calls) == 4, "the client's channel has repeated what the service had tried"


async def test_the_callers_deadline_reaches_the_encoder_less_a_slack(search, encoder, monkeypatch):
    left: list[float] = []
    encode = FakeEncoder.EncodeText

    async def noted(self, request, context):
        left.append(context.time_remaining())
        return await encode(self, request, context)

    monkeypatch.setattr(FakeEncoder, "EncodeText", noted)
    monkeypatch.setattr(deadline, "_SLACK_S", 5.0)  # more than the 0.1 s to which gRPC rounds a deadline up
    await encoder.stop()
    await encoder.start()
    await search.Search(REQUEST, timeout=15, wait_for_ready=True)
    assert left[0] < 10.2


async def test_a_caller_that_goes_takes_the_encoders_work_along(search, encoder):
    gone = asyncio.Event()

    async def called(name: str, items: int) -> None:
        encoder.calls.append((name, items))
        try:
            await asyncio.sleep(3600)
        finally:
            gone.set()

    encoder._called = called
    call = search.Search(REQUEST)
    await until(lambda: bool(encoder.calls))
    call.cancel()
    await gone.wait()


async def test_a_late_encoder_leaves_time_to_say_so(search, encoder, monkeypatch):
    monkeypatch.setattr(deadline, "_SLACK_S", 10.0)  # for a machine however busy
    encoder.go_on.clear()
    why = await refused(search.Search(REQUEST, timeout=10.5))
    assert (why.code, why.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
