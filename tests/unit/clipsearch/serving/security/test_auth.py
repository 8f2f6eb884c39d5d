"""Who gets in and who does not, on a server that answers every RPC of the API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from clipsearch.search.v1 import collection_pb2, search_pb2
from clipsearch.serving.calls import CallInterceptor
from clipsearch.serving.current_call import current_tenant
from clipsearch.serving.security import auth
from clipsearch.serving.security.auth import Guard
from clipsearch.serving.security.permissions import PERMISSIONS, Permission
from clipsearch.serving.security.tokens import Grants, Scope, sha256
from tests.fuzz.rpcs import by_path, path, request_class
from tests.unit.clipsearch.serving.http2 import status
from tests.unit.clipsearch.serving.served import (
    GET_MODEL,
    METHODS,
    SEARCH,
    Running,
    TokenMaker,
    call,
    detail,
    refusal,
    running,
)

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
DENIED = grpc.StatusCode.PERMISSION_DENIED
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
COLLECTIONS = "/clipsearch.search.v1.CollectionService/"
every_rpc = pytest.mark.parametrize("name", [path(method) for method in METHODS])


@dataclass
class Guarded:
    server: Running
    channel: grpc.aio.Channel
    tokens: TokenMaker
    grants: Grants

    def add(self, name: str, *scopes: str, **more: object) -> str:
        token = self.tokens.add(name, *scopes, **more)
        self.grants.reload()
        return token


@pytest.fixture
async def guarded(tokens) -> AsyncIterator[Guarded]:
    tokens.add("somebody", *Scope)
    grants = Grants(tokens.path)
    async with running(CallInterceptor(guard=Guard(grants))) as server:
        yield Guarded(server, server.channel, tokens, grants)


def test_every_rpc_has_a_permission_and_every_permission_an_rpc():
    assert set(PERMISSIONS) == {path(method) for method in METHODS}


@every_rpc
async def test_a_token_with_its_scope_alone_opens_an_rpc_and_nothing_else_does(guarded, name):
    needed = PERMISSIONS[name].scope
    right = guarded.add("right", needed)
    other = guarded.add("other", *(scope for scope in Scope if scope is not needed))
    assert await refusal(guarded.channel, name) == (UNAUTHENTICATED, "TOKEN_MISSING")
    assert await refusal(guarded.channel, name, token="cs_wrong") == (UNAUTHENTICATED, "TOKEN_UNKNOWN")
    assert await refusal(guarded.channel, name, token=other) == (DENIED, "SCOPE_MISSING")
    assert guarded.server.decoded == []
    await call(guarded.channel, name, token=right)
    assert guarded.server.decoded == [name]


def naming(message: Message, collection: str) -> Message:
    """Puts `collection` wherever a request can name one, inside of lists of requests too."""
    for field in message.DESCRIPTOR.fields:
        if field.name in ("collection", "name", "alias"):
            setattr(message, field.name, collection)
        elif field.name == "searches":
            naming(message.searches.add(), collection)
    return message


@every_rpc
async def test_a_restricted_token_reaches_its_collections_and_no_other(guarded, name):
    token = guarded.add("restricted", *Scope, collections=["mine"])
    request = request_class(by_path(name))
    mine, other = naming(request(), "mine"), naming(request(), "other")
    if mine != request():
        await call(guarded.channel, name, mine, token=token)
        assert await refusal(guarded.channel, name, other, token=token) == (DENIED, "COLLECTION_FORBIDDEN")
    elif PERMISSIONS[name].scope is Scope.ENCODE:
        await call(guarded.channel, name, token=token)
    else:
        assert await refusal(guarded.channel, name, token=token) == (DENIED, "COLLECTION_FORBIDDEN")


@every_rpc
async def test_to_a_tenant_only_those_rpcs_are_open_that_say_so(guarded, name):
    seen = []

    async def answer(request, context):
        seen.append(current_tenant())

    guarded.server.answers[name] = answer
    token = guarded.add("acme", *(set(Scope) - {Scope.ADMIN}), tenant={"field": "shop", "value": "acme"})
    permission = PERMISSIONS[name]
    if permission.tenants:
        assert permission.scope is not Scope.ADMIN
        await call(guarded.channel, name, token=token)
        await call(guarded.channel, name, token=guarded.add("anybody", permission.scope))
        assert [tenant and tenant.value for tenant in seen] == ["acme", None]
    else:
        reason = "SCOPE_MISSING" if permission.scope is Scope.ADMIN else "TENANT_FORBIDDEN"
        assert await refusal(guarded.channel, name, token=token) == (DENIED, reason)
        assert seen == guarded.server.decoded == []


async def test_an_rpc_that_says_nothing_of_tenants_is_closed_to_them(guarded, monkeypatch):
    monkeypatch.setitem(PERMISSIONS, GET_MODEL, Permission(Scope.ENCODE, None))
    token = guarded.add("acme", "encode", tenant={"field": "shop", "value": "acme"})
    assert await refusal(guarded.channel, token=token) == (DENIED, "TENANT_FORBIDDEN")


async def test_one_forbidden_collection_among_allowed_ones_refuses_the_call(guarded):
    token = guarded.add("restricted", *Scope, collections=["mine"])
    batch = search_pb2.SearchBatchRequest(
        searches=[search_pb2.SearchRequest(collection="mine"), search_pb2.SearchRequest(collection="other")]
    )
    alias = collection_pb2.UpdateAliasRequest(alias="mine", collection="other")
    link = collection_pb2.SetSuccessorRequest(collection="mine", successor="other")
    for name, request in (
        (SEARCH + "Batch", batch),
        (COLLECTIONS + "UpdateAlias", alias),
        (COLLECTIONS + "SetSuccessor", link),
    ):
        assert await refusal(guarded.channel, name, request, token=token) == (DENIED, "COLLECTION_FORBIDDEN")


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Basic {token}", "{token}", "Bearer {token}x", "Bearer x{token}", "Bearer {sha256}"],
)
async def test_headers_that_show_no_token(guarded, header):
    token = guarded.add("x", "encode")
    shown = header.format(token=token, sha256=sha256(token))
    code, _ = await refusal(guarded.channel, metadata=[("authorization", shown)])
    assert code is UNAUTHENTICATED


@pytest.mark.parametrize("other", ["Bearer cs_wrong", "Basic x", ""])
async def test_of_two_headers_neither_counts(guarded, other):
    shown = [("authorization", f"Bearer {guarded.add('x', 'encode')}"), ("authorization", other)]
    for metadata in (shown, shown[::-1]):
        code, _ = await refusal(guarded.channel, metadata=metadata)
        assert code is UNAUTHENTICATED


@pytest.mark.parametrize(
    "token", [b"\xff\xfe", b"\xed\xa0\x80", "tökén".encode(), b"a" * 7000, b"a" * 12_000, b"a\0b"]
)
async def test_tokens_of_odd_bytes_are_wrong_tokens_and_no_fault(guarded, token):
    shown = (b"authorization", b"Bearer " + token)
    assert await status(guarded.server.address, GET_MODEL.encode(), shown) == UNAUTHENTICATED.value[0]


async def test_the_word_bearer_may_be_written_in_any_case(guarded):
    token = guarded.add("x", "encode")
    await call(guarded.channel, metadata=[("authorization", f"bEARER {token}")])


async def test_health_is_open(guarded):
    await guarded.server.health.set("", health_pb2.HealthCheckResponse.SERVING)
    stub = health_pb2_grpc.HealthStub(guarded.channel)
    assert (await stub.Check(health_pb2.HealthCheckRequest())).status == 1
    watch = stub.Watch(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == 1
    watch.cancel()


async def test_reflection_wants_a_token(guarded):
    token = guarded.add("x", "encode")
    stub = reflection_pb2_grpc.ServerReflectionStub(guarded.channel)
    asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ServerReflectionInfo(iter(asked)).read()
    assert caught.value.code() is UNAUTHENTICATED
    answer = await stub.ServerReflectionInfo(
        iter(asked), metadata=[("authorization", f"Bearer {token}")]
    ).read()
    assert "clipsearch.encoder.v1.EncoderService" in str(answer)


@pytest.fixture
def no_time_passes(monkeypatch):
    """For the rates: on a busy machine a call may take as long as one of them lasts."""
    monkeypatch.setattr(auth, "RateLimit", partial(auth.RateLimit, clock=lambda: 1000.0))


async def test_a_token_past_its_rate_is_told_when_to_come_back(guarded, no_time_passes):
    slow, other = guarded.add("slow", "encode", rate_per_s=2), guarded.add("other", "encode")
    await call(guarded.channel, token=slow)
    await call(guarded.channel, token=slow)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(guarded.channel, token=slow)
    assert caught.value.code() is EXHAUSTED
    assert detail(caught.value, error_details_pb2.ErrorInfo).reason == "RATE_LIMITED"
    wait = detail(caught.value, error_details_pb2.RetryInfo).retry_delay.ToMilliseconds()
    assert 0 < wait <= 500
    await call(guarded.channel, token=other)


async def test_the_default_rate_is_for_tokens_without_one(tokens, no_time_passes):
    token = tokens.add("x", "encode")
    async with running(CallInterceptor(guard=Guard(Grants(tokens.path), rate_per_s=1))) as server:
        await call(server.channel, token=token)
        assert await refusal(server.channel, token=token) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "RATE_LIMITED",
        )


async def test_a_full_server_says_so_to_restricted_callers_too(tokens):
    token = tokens.add("restricted", *Scope, collections=["mine"])
    async with running(CallInterceptor(guard=Guard(Grants(tokens.path)), limit=0)) as server:
        assert await refusal(server.channel, SEARCH, token=token) == (EXHAUSTED, "TOO_MANY_CALLS")
        assert await refusal(server.channel, SEARCH) == (UNAUTHENTICATED, "TOKEN_MISSING")
