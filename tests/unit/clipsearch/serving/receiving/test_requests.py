"""The time that a request has to arrive, on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from clipsearch.encoder.v1 import encoder_pb2
from clipsearch.serving.calls import CallInterceptor
from clipsearch.serving.telemetry.metrics import Metrics
from tests.unit.clipsearch.serving.http2 import RawCall, status
from tests.unit.clipsearch.serving.served import Running, call, requests, running
from tests.waiting import until

PATH = b"/clipsearch.encoder.v1.EncoderService/EncodeText"
HALF = b"\0\0\0\0\x09ab"
DEADLINE_EXCEEDED = grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT.value[0]


@pytest.fixture
async def server() -> AsyncIterator[Running]:
    async with running() as server:
        yield server


async def test_half_a_request_is_given_up_told_why_and_counted():
    metrics = Metrics()
    async with running(CallInterceptor(requests(limit_s=0.3), metrics=metrics)) as server:
        answer = await (await RawCall(PATH, body=HALF, end=False).send(server.address)).answer()
    assert int(answer["grpc-status"]) == DEADLINE_EXCEEDED
    assert answer["grpc-message"] == "the request did not arrive within 0.3 s"
    assert server.decoded == []
    labels = {
        "grpc_service": "clipsearch.encoder.v1.EncoderService",
        "grpc_method": "EncodeText",
        "grpc_code": "DEADLINE_EXCEEDED",
    }
    await until(lambda: metrics.registry.get_sample_value("grpc_server_handled_total", labels) == 1)


async def test_a_call_that_ends_without_a_request_is_refused_at_once(server):
    assert await status(server.address, PATH, body=b"") == INVALID_ARGUMENT


async def test_the_limit_is_on_the_request_and_not_on_the_answer():
    begun = asyncio.Event()

    async def takes_long(request, context):
        begun.set()
        await asyncio.sleep(0.4)  # longer than a request may take
        return encoder_pb2.EncodeTextResponse(fingerprint=request.texts[0])

    text = encoder_pb2.EncodeTextRequest(texts=["whole"])
    async with running(CallInterceptor(requests(limit_s=0.3))) as server:
        server.answers[PATH.decode()] = takes_long
        answered: Any = None
        while not begun.is_set():  # it may not come in time on a busy machine
            (answered,) = await asyncio.gather(
                call(server.channel, PATH.decode(), text), return_exceptions=True
            )
    assert answered.fingerprint == "whole"


async def test_bytes_that_are_no_message_are_the_callers_fault(server):
    assert await status(server.address, PATH, body=b"\0\0\0\0\x03\xff\xff\xff") == INVALID_ARGUMENT
    assert await status(server.address, PATH, body=b"\0\0\0\0\x03\x0a\x01\xff") == INVALID_ARGUMENT
