"""Errors and what becomes of them on the wire, through a real server and channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from clipsearch.client.errors import from_status
from clipsearch.serving.calls import CallInterceptor
from clipsearch.serving.errors import FingerprintMismatch, InvalidArgument, NotFound, to_status
from tests.unit.clipsearch.serving.served import GET_MODEL, call, detail, running


@pytest.fixture
async def told() -> AsyncIterator[Callable[[Exception], Awaitable[grpc.aio.AioRpcError]]]:
    """What a caller gets to see of an error that a handler raises."""
    async with running() as server:

        async def raising(error: Exception) -> grpc.aio.AioRpcError:
            async def fails(request, context):
                raise error

            server.answers[GET_MODEL] = fails
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(server.channel)
            return caught.value

        yield raising


async def test_bad_argument_names_the_field_on_the_wire(told):
    error = await told(InvalidArgument("limit", "at most 1000, got 5000"))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == "limit: at most 1000, got 5000"
    assert detail(error, error_details_pb2.BadRequest).field_violations[0].field == "limit"
    assert detail(error, error_details_pb2.ErrorInfo).reason == "INVALID_FIELD"


@pytest.mark.parametrize("letter", ["x", "\N{GREEK SMALL LETTER ALPHA}", "\N{GRINNING FACE}"])
@pytest.mark.parametrize(
    "made",
    [
        lambda name: NotFound("collection", name),
        lambda name: InvalidArgument(f"filter.{name}", f"{name!r} is no field", "UNKNOWN", {"field": name}),
        lambda name: FingerprintMismatch(name, name, name),
    ],
)
async def test_an_error_that_quotes_a_long_name_arrives_as_itself(told, made, letter):
    error = made(100_000 * letter)

    refused = await told(error)

    assert (refused.code().value[0], rpc_status.from_call(refused).code) == (error.code, error.code)
    assert detail(refused, error_details_pb2.ErrorInfo).reason == error.reason
    assert refused.details().endswith("...")


def test_a_nested_field_gets_its_path():
    outer = InvalidArgument("weight", "must be finite, got nan").inside("query[2]")
    assert outer.field == "query[2].weight"
    assert outer.message == "query[2].weight: must be finite, got nan"


async def test_mismatch_names_both_fingerprints(told):
    error = await told(FingerprintMismatch("pictures", "aaaa", "bbbb"))
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "aaaa" in error.details()
    assert "bbbb" in error.details()
    metadata = detail(error, error_details_pb2.ErrorInfo).metadata
    assert metadata["collection_fingerprint"] == "aaaa"
    assert metadata["request_fingerprint"] == "bbbb"


async def test_the_unexpected_tells_an_incident_and_no_more(told):
    error = await told(RuntimeError("/secret/path"))
    assert error.code() is grpc.StatusCode.INTERNAL
    assert detail(error, error_details_pb2.ErrorInfo).metadata["incident"] in error.details()
    assert "secret" not in error.details()


async def test_an_error_that_a_broken_connection_cannot_be_told_is_a_cancelled_call():
    class Broken:
        async def read(self) -> bytes:
            return b""

        async def abort(self, *_: object, **__: object) -> None:
            raise grpc.aio.InternalError("the batch failed")

        def invocation_metadata(self) -> tuple:
            return ()

        def peer(self) -> str:
            return "ipv4:127.0.0.1:1"

        def time_remaining(self) -> float:
            return 10.0

    class Details:
        method = GET_MODEL

    async def refuse(request: object, context: object) -> None:
        raise NotFound("collection", "x")

    async def continuation(details: object) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(refuse, request_deserializer=bytes)

    handler = await CallInterceptor().intercept_service(continuation, Details())
    with pytest.raises(asyncio.CancelledError):
        await handler.stream_unary(None, Broken())


@pytest.mark.parametrize("field", ["images[0]", "points[3].payload", "labels[1]"])
def test_a_message_names_its_field_once_however_often_it_is_passed_on(field):
    error = InvalidArgument(field, "over 20 bytes")
    for _ in range(3):
        error = InvalidArgument(field, error.message, error.reason)
    assert error.message == f"{field}: over 20 bytes"
    assert error.description == "over 20 bytes"
    arrived = from_status(to_status(error))
    assert arrived.about(field).message == f"{field}: over 20 bytes"
    assert arrived.about("photo.jpg").message == "photo.jpg: over 20 bytes"
