"""JSON over HTTP, as Envoy makes it of the protos' rules: paths, names, errors, and what is let through."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from clipsearch import AsyncClient
from clipsearch.encoder.v1 import encoder_pb2
from clipsearch.search.v1 import search_pb2
from clipsearch.serving.errors import InvalidArgument, NotFound, ResourceExhausted
from tests.fuzz.rpcs import path
from tests.unit.clipsearch.gateway.gates import Gate, gate
from tests.unit.clipsearch.gateway.rules import RULES
from tests.unit.clipsearch.serving.served import GET_MODEL, SEARCH
from tests.waiting import HANGS_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

FRIEND, FOREIGN = "https://shop.example", "https://evil.example"
COUNT = "/clipsearch.search.v1.SearchService/CountPoints"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gate]:
    folder: Path = tmp_path_factory.mktemp("gateway")
    async with gate(folder, "--max-body-mb", "1", "--allow-origin", FRIEND, "--metrics-port", "0") as one:
        yield one


@pytest.fixture
def gateway(shared: Gate) -> Gate:
    """With a server that gives empty answers."""
    shared.server.answers.clear()
    shared.server.decoded.clear()
    return shared


@pytest.mark.parametrize(
    ("method", "verb", "template", "body"), RULES, ids=lambda it: getattr(it, "name", it)
)
async def test_every_rpc_has_a_path_that_leads_to_it(gateway, method, verb, template, body):
    named = [part.partition("}")[0] for part in template.split("{")[1:]]
    seen: list[Any] = []

    async def answer(request, context):
        seen.append(request)

    gateway.server.answers[path(method)] = answer
    url = template
    for name in named:
        url = url.replace(f"{{{name}}}", f"my-{name}.1")
    answered = await gateway.http.request(verb, url, json={} if body else None)
    assert answered.status_code == 200, answered.text
    assert [getattr(seen[0], name) for name in named] == [f"my-{name}.1" for name in named]


async def test_names_are_those_of_the_protos_and_nothing_is_left_out_but_what_is_optional(gateway):
    async def answer(request, context):
        return search_pb2.SearchResponse(hits=[search_pb2.Hit(id="a", matched=search_pb2.TARGET_IMAGE)])

    gateway.server.answers[SEARCH] = answer
    answered = (await gateway.http.post("/v1/collections/c:search", json={"query": []})).json()
    hit = {"id": "a", "score": 0, "matched": "TARGET_IMAGE", "cosine": 0, "weak": False}
    ranks = {"image_rank": 0, "text_rank": 0, "words_rank": 0, "words_score": 0, "boost": 0}
    assert answered["hits"] == [{**hit, **ranks}]
    assert answered["fused"] is False


async def test_64_bit_integers_are_strings(gateway):
    async def answer(request, context):
        return search_pb2.CountPointsResponse(count=2**53 + 1)

    gateway.server.answers[COUNT] = answer
    assert (await gateway.http.post("/v1/collections/c/points:count", json={})).json() == {
        "count": "9007199254740993"
    }


async def test_bytes_are_base64_and_lists_come_by_the_query_too(gateway):
    seen: list[Any] = []

    async def answer(request, context):
        seen.append(request)

    gateway.server.answers["/clipsearch.encoder.v1.EncoderService/EncodeImage"] = answer
    gateway.server.answers["/clipsearch.search.v1.SearchService/ListPoints"] = answer
    await gateway.http.post(
        "/v1/images:encode", json={"images": ["/9j/"], "format": "VECTOR_FORMAT_F32_BYTES"}
    )
    await gateway.http.get("/v1/collections/c/points?page_size=5&payload.include=a&payload.include=b.c")
    assert seen == [
        encoder_pb2.EncodeImageRequest(images=[b"\xff\xd8\xff"], format=2),
        search_pb2.ListPointsRequest(
            collection="c", page_size=5, payload=search_pb2.PayloadSelector(include=["a", "b.c"])
        ),
    ]


async def test_an_error_of_a_service_keeps_its_reason_field_and_details(gateway):
    async def answer(request, context):
        raise InvalidArgument("query[1].weight", 'not "0" or {"reason":"X","field":"y"}', "WEIGHT_INVALID")

    gateway.server.answers[SEARCH] = answer
    status, error = await gateway.error("POST", "/v1/collections/c:search", json={})
    assert status == 400
    assert (error["type"], error["code"], error["param"]) == (
        "INVALID_ARGUMENT", "WEIGHT_INVALID", "query[1].weight",
    )  # fmt: skip
    assert error["message"] == 'query[1].weight: not "0" or {"reason":"X","field":"y"}'
    assert error["details"][0]["metadata"] == {"field": "query[1].weight"}


async def test_an_error_without_a_field_has_none(gateway):
    async def answer(request, context):
        raise NotFound("collection", "c")

    gateway.server.answers[SEARCH] = answer
    status, error = await gateway.error("POST", "/v1/collections/c:search", json={})
    assert (status, error["code"], error["param"]) == (404, "COLLECTION_NOT_FOUND", None)


async def test_who_is_to_come_back_later_is_told_when(gateway):
    async def answer(request, context):
        raise ResourceExhausted("full", "QUEUE_FULL", retry_after_s=1.2)

    gateway.server.answers[SEARCH] = answer
    answered = await gateway.http.post("/v1/collections/c:search", json={})
    assert (answered.status_code, answered.headers["retry-after"]) == (429, "2")


@pytest.mark.parametrize(
    ("request_", "status", "code", "message"),
    [
        (("POST", "/v1/texts:encode", b'{"texts": ["a"'), 400, "REQUEST_NOT_DECODABLE", "Unexpected end"),
        (("POST", "/v1/texts:encode", b'{"texts": {"a": 1}}'), 400, "REQUEST_NOT_DECODABLE", "texts"),
        (("POST", "/v1/images:encode", b'{"images": ["!"]}'), 400, "REQUEST_NOT_DECODABLE", "images"),
        (("GET", "/v1/collections?colour=red", b""), 400, "REQUEST_NOT_DECODABLE", "colour"),
        (("GET", "/v1/nothing", b""), 404, "NOT_FOUND", "no such address"),
        (("GET", "/v1/texts:encode", b""), 404, "NOT_FOUND", "not for this method"),
        (("POST", "/clipsearch.search.v1.SearchService/Search", b"{}"), 404, "NOT_FOUND", "no such address"),
        (("POST", "/v1/texts:encode", b" " * 1_100_000), 413, "BODY_TOO_LARGE", "Too Large"),
    ],
)  # fmt: skip
async def test_what_no_service_gets_to_see_is_refused_in_the_same_shape(
    gateway, request_, status, code, message
):
    verb, url, body = request_
    got, error = await gateway.error(verb, url, content=body)
    assert (got, error["type"], error["code"]) == (status, "gateway_error", code)
    assert message in error["message"]
    assert gateway.server.decoded == []


async def test_the_field_of_another_type_is_named(gateway):
    body = {"query": [{"text": "a", "weight": "heavy"}]}
    status, error = await gateway.error("POST", "/v1/collections/c:search", json=body)
    assert (status, error["param"]) == (400, "query[0].weight")


async def test_headers_beyond_their_limit_are_refused(gateway):
    answered = await gateway.http.get("/v1/model", headers={"big": "a" * 40_000})
    assert (answered.status_code, answered.json()["error"]["code"]) == (431, "HEADERS_TOO_LARGE")


async def test_a_body_of_many_pieces_arrives_whole(gateway):
    seen: list[int] = []

    async def answer(request, context):
        seen.append(len(request.texts[0]))

    gateway.server.answers["/clipsearch.encoder.v1.EncoderService/EncodeText"] = answer
    await gateway.http.post("/v1/texts:encode", json={"texts": ["a" * 900_000]})
    assert seen == [900_000]


async def test_token_request_id_and_deadline_pass_through(gateway):
    seen: dict[str, Any] = {}

    async def answer(request, context):
        seen.update(context.invocation_metadata(), left=context.time_remaining())

    gateway.server.answers[GET_MODEL] = answer
    shown = {"authorization": "Bearer mine", "x-request-id": "call-7", "grpc-timeout": "9S"}
    answered = await gateway.http.get("/v1/model", headers=shown)
    assert {name: seen[name] for name in ("authorization", "x-request-id")} == {
        "authorization": "Bearer mine", "x-request-id": "call-7",
    }  # fmt: skip
    assert 0 < seen["left"] <= 9
    assert answered.headers["x-request-id"] == "call-7"


async def test_a_call_ends_at_its_deadline(gateway):
    begun, ended = [], asyncio.Event()

    async def answer(request, context):
        begun.append(request)
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    gateway.server.answers[GET_MODEL] = answer
    while not begun:  # it may be late before it has arrived
        status, error = await gateway.error("GET", "/v1/model", headers={"grpc-timeout": "50m"})
        assert (status, error["code"]) == (504, "DEADLINE_EXCEEDED")
    await asyncio.wait_for(ended.wait(), HANGS_S)


async def test_a_request_id_of_odd_characters_is_made_plain(gateway):
    _, error = await gateway.error("GET", "/v1/nothing", headers={"x-request-id": 'a"},{\\'})
    assert error["request_id"] == "a_____"


async def test_headers_that_steer_envoy_are_nobodys_to_send(gateway):
    async def answer(request, context):
        await asyncio.sleep(0.2)

    gateway.server.answers[GET_MODEL] = answer
    steering = {"x-envoy-upstream-rq-timeout-ms": "1", "x-envoy-expected-rq-timeout-ms": "1"}
    assert (await gateway.http.get("/v1/model", headers=steering)).status_code == 200


@pytest.mark.parametrize("kind", ["application/json", "application/grpc-web+proto"])
async def test_an_unknown_compression_spoils_no_call(gateway, kind):
    body = b"{}" if kind.endswith("json") else b"\0\0\0\0\0"
    path = "/v1/texts:encode" if kind.endswith("json") else GET_MODEL
    for encoding in ("bogus", "gzip"):
        headers = {"content-type": kind, "grpc-encoding": encoding}
        answered = await gateway.http.post(path, content=body, headers=headers)

        assert answered.status_code == 200
        assert "grpc-encoding" not in answered.text + answered.headers.get("grpc-message", "")


@pytest.mark.parametrize("origin", [FOREIGN, "null", f"{FOREIGN}#{FRIEND}"])
async def test_the_pages_of_other_sites_may_not_call(gateway, origin):
    status, error = await gateway.error(
        "POST", "/v1/collections/c/points:delete", json={}, headers={"origin": origin}
    )
    assert (status, error["code"]) == (403, "ORIGIN_FOREIGN")
    assert gateway.server.decoded == []


async def test_its_own_pages_and_those_of_a_friend_may(gateway):
    own = {"origin": gateway.process.url}
    assert (await gateway.http.post("/v1/texts:encode", json={}, headers=own)).status_code == 200
    friend = {"origin": FRIEND}
    answered = await gateway.http.post("/v1/texts:encode", json={}, headers=friend)
    assert (answered.status_code, answered.headers["access-control-allow-origin"]) == (200, FRIEND)
    asked = {
        **friend,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
    }
    preflight = await gateway.http.options("/v1/texts:encode", headers=asked)
    assert preflight.headers["access-control-allow-origin"] == FRIEND
    assert "authorization" in preflight.headers["access-control-allow-headers"]


async def test_by_a_name_that_it_does_not_go_by_nothing_is_found(gateway):
    status, error = await gateway.error("GET", "/v1/model", headers={"host": "evil.example"})
    assert (status, error["code"]) == (404, "NOT_FOUND")


async def test_grpc_goes_through_as_it_is(gateway):
    async with AsyncClient(gateway.process.address) as client:
        assert await client.list_collections() == []


async def test_grpc_web_is_spoken_too(gateway):
    async def answer(request, context):
        return encoder_pb2.GetModelResponse(name="web")

    gateway.server.answers[GET_MODEL] = answer
    headers = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
    answered = await gateway.http.post(GET_MODEL, content=b"\0\0\0\0\0", headers=headers)
    flag, length = struct.unpack(">BI", answered.content[:5])
    assert (flag, encoder_pb2.GetModelResponse.FromString(answered.content[5 : 5 + length]).name) == (
        0,
        "web",
    )
    assert b"grpc-status:0" in answered.content[5 + length :]


async def test_metrics_are_served_and_nothing_else_of_the_administration(gateway):
    async with httpx.AsyncClient(base_url=f"http://{gateway.process.metrics_address()}") as http:
        assert "envoy_http_downstream_rq_xx" in (await http.get("/metrics")).text
        assert (await http.post("/quitquitquit")).status_code == 404
        assert (await http.get("/metrics/../config_dump")).status_code == 404
