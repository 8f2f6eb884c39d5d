"""Which calls the channel makes again by itself, how often, and which targets it takes."""

from __future__ import annotations

import grpc
import pytest

from clipsearch.channel import connection
from clipsearch.search.v1 import search_pb2
from clipsearch.serving.errors import ResourceExhausted, ServiceError, Unavailable
from tests.ports import kept_port
from tests.unit.clipsearch.serving.served import (
    GET_MODEL,
    METHODS,
    Running,
    by_path,
    call,
    path,
    refusal,
    running,
)
from tests.waiting import HANGS_S

# What answers differently when it happens twice.
ONCE = {"CreateCollection", "DeleteCollection", "UpdateAlias", "DeletePayloadIndex"}
GONE = Unavailable("encoder", "the server is stopping")
TRIED_IN_VAIN = Unavailable("store", "the store cannot be reached", retry_after_s=1.0)


def failing(server: Running, method: str, error: ServiceError) -> list[str]:
    """Makes a method fail always; returns where its calls are noted."""
    calls: list[str] = []

    async def answer(request: object, context: object) -> None:
        calls.append(method)
        raise error

    server.answers[method] = answer
    return calls


@pytest.mark.parametrize("method", [path(method) for method in METHODS])
async def test_only_calls_that_may_happen_twice_are_made_again(method):
    async with running() as server, connection.aio_channel(server.address) as channel:
        calls = failing(server, method, GONE)
        await refusal(channel, method)
        assert len(calls) == (1 if by_path(method).name in ONCE else 4)


@pytest.mark.parametrize("bytes_sent", [0, 300_000, 4_000_000], ids=["small", "300 kB", "4 MB"])
async def test_a_call_that_a_stopping_server_cuts_is_made_again(bytes_sent):
    method = "/clipsearch.search.v1.SearchService/Search"
    async with running() as server, connection.aio_channel(server.address) as channel:
        calls = []

        async def answer(request: object, context: grpc.aio.ServicerContext) -> None:
            calls.append(method)
            if len(calls) == 1:
                await context.abort(grpc.StatusCode.CANCELLED, "")

        server.answers[method] = answer
        term = search_pb2.QueryTerm(image=bytes(bytes_sent))
        await call(channel, method, search_pb2.SearchRequest(query=[term]))
        assert len(calls) == 2


@pytest.mark.parametrize("error", [TRIED_IN_VAIN, ResourceExhausted("full", "QUEUE_FULL", 1)])
async def test_what_was_tried_one_hop_down_or_is_too_much_already_is_not_made_again(error):
    method = "/clipsearch.search.v1.SearchService/Search"
    async with running() as server, connection.aio_channel(server.address) as channel:
        calls = failing(server, method, error)
        await refusal(channel, method)
        assert len(calls) == 1


async def test_retries_have_a_budget_that_failures_use_up():
    method = "/clipsearch.search.v1.SearchService/Search"
    async with running() as server, connection.aio_channel(server.address) as channel:
        calls = failing(server, method, GONE)
        for _ in range(10):
            await refusal(channel, method)
        # Of ten tokens a failure costs one, and above five there are retries: four attempts of the first
        # call, one of each of the others.
        assert len(calls) == 13


@pytest.mark.parametrize("scheme", ["", "ipv4:", "dns:///"])
async def test_targets_with_and_without_a_scheme(scheme):
    async with running() as server, connection.aio_channel(scheme + server.address) as channel:
        method = channel.unary_unary(GET_MODEL)
        assert await method(b"", timeout=HANGS_S) == b""


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://127.0.0.1:50052", "is a URL; the address of a service is 127.0.0.1:50052"),
        ("HTTPS://search.example.com/v1", "is a URL; the address of a service is search.example.com"),
        ("localhost:99999", "there is no port 99999, at most 65535"),
        ("dns:///[::1]:65536", "there is no port 65536, at most 65535"),
        ("", "host:port, not empty"),
        ("\udcff:50052", "is no address of a service"),  # as the shell gives what is no UTF-8
    ],
)
def test_what_can_be_no_address_is_refused_with_what_to_write(address, said):
    with pytest.raises(connection.AddressError) as refused:
        connection.channel(address)
    assert said in str(refused.value)


async def test_a_socket_of_a_file_and_a_name_of_xds_have_no_port(tmp_path):
    async def echo(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        return request

    address = f"unix:{tmp_path}/search:70000"
    server = grpc.aio.server()
    handlers = {"M": grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("s", handlers)])
    server.add_insecure_port(address)
    await server.start()
    async with connection.aio_channel(address) as channel:
        assert await channel.unary_unary("/s/M")(b"here", timeout=HANGS_S) == b"here"
    await server.stop(None)
    assert connection.grpc_target("xds:///search:70000") == "xds:///search:70000"


async def test_several_addresses_share_the_calls():
    async with (
        running() as one,
        running() as two,
        connection.aio_channel(f"ipv4:{one.address},{two.address}") as channel,
    ):
        while not (one.decoded and two.decoded):  # the second may be connected later
            await channel.unary_unary(GET_MODEL)(b"", timeout=HANGS_S)


async def test_of_several_addresses_one_stands_in_for_another():
    with kept_port() as nobody:
        async with (
            running() as one,
            connection.aio_channel(f"ipv4:127.0.0.1:{nobody},{one.address}") as channel,
        ):
            for _ in range(20):
                await channel.unary_unary(GET_MODEL)(b"", timeout=HANGS_S)
            assert len(one.decoded) == 20
