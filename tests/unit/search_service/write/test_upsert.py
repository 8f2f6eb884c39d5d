"""Writing points over a real channel: each is told what became of it."""

from __future__ import annotations

import numpy as np
import pytest

from clipsearch.encoder.v1 import vector_pb2
from clipsearch.search.v1 import search_pb2
from tests.unit.search_service.served import (
    CONTEXT,
    DIMENSION,
    Client,
    FakeEncoder,
    point,
    refusal,
    refused,
    unit,
)

F32 = vector_pb2.VECTOR_FORMAT_F32_BYTES


async def stored(client: Client, *ids: str) -> dict[str, search_pb2.StoredPoint]:
    request = search_pb2.GetPointsRequest(collection="c", ids=ids, with_vectors=True, vector_format=F32)
    return {found.id: found for found in (await client.points.GetPoints(request)).points}


def numbers(vector: vector_pb2.Vector) -> np.ndarray:
    return np.frombuffer(vector.f32, dtype="<f4")


@pytest.fixture(autouse=True)
async def collection(client: Client) -> None:
    await client.create()


async def test_every_mix_of_images_and_texts_is_written(client: Client, encoder: FakeEncoder):
    encoder.vectors = {"words": unit(1), b"picture": unit(0, 1)}
    results = await client.upsert(
        {"id": "words", "text": "words"},
        {"id": "picture", "image": b"picture"},
        {"id": "both", "text": "words", "image": b"picture"},
        {"id": "ready", "image_vector": 5 * unit(0, 0, 1), "text_vector": unit(0, 0, 0, 1)},
        {"id": "mixed", "text": "words", "image_vector": unit(0, 0, 1), "payload": {"n": 1}},
    )
    assert [(result.id, result.status.code) for result in results] == [
        (id, 0) for id in ("words", "picture", "both", "ready", "mixed")
    ]
    found = await stored(client, "words", "picture", "both", "ready", "mixed")
    assert (found["words"].has_image, found["words"].has_text) == (False, True)
    assert (found["picture"].has_image, found["picture"].has_text) == (True, False)
    assert numbers(found["both"].text_vector) == pytest.approx(unit(1))
    assert numbers(found["both"].image_vector) == pytest.approx(unit(0, 1))
    assert numbers(found["ready"].image_vector) == pytest.approx(unit(0, 0, 1))
    assert dict(found["mixed"].payload) == {"n": 1}
    assert sorted(encoder.calls) == [("EncodeImage", 2), ("EncodeText", 3), ("GetModel", 0)]


BAD_POINTS = {
    "no id": ({"id": "", "text": "x"}, "points[1].id", "ID_INVALID"),
    "long id": ({"id": "é" * 257, "text": "x"}, "points[1].id", "ID_INVALID"),
    "nothing": ({"id": "bad"}, "points[1]", "POINT_EMPTY"),
    "two images": (
        {"id": "bad", "image": b"x", "image_vector": unit(1)},
        "points[1].image_vector",
        "INVALID_FIELD",
    ),
    "two texts": (
        {"id": "bad", "text": "x", "text_vector": unit(1)},
        "points[1].text_vector",
        "INVALID_FIELD",
    ),
    "bad picture": ({"id": "bad", "image": b"no picture"}, "points[1].image", "IMAGE_UNREADABLE"),
    "bad picture, good text": (
        {"id": "bad", "image": b"no picture", "text": "x"},
        "points[1].image",
        "IMAGE_UNREADABLE",
    ),
    "empty text": ({"id": "bad", "text": ""}, "points[1].text", "TEXT_EMPTY"),
    "zero": ({"id": "bad", "image_vector": np.zeros(8)}, "points[1].image_vector.f32", "VECTOR_ZERO"),
    "NaN in the payload": (
        {"id": "bad", "text": "x", "payload": {"n": float("nan")}},
        "points[1].payload.n",
        "INVALID_FIELD",
    ),
}


async def test_a_bad_point_fails_alone_and_says_why(client: Client):
    for kind, (bad, field, reason) in BAD_POINTS.items():
        results = await client.upsert({"id": "one", "text": "x"}, bad, {"id": "two", "image": b"x"})
        assert [result.id for result in results] == ["one", bad["id"], "two"]
        assert [result.status.code for result in results][::2] == [0, 0], kind
        why = refusal(results[1].status)
        assert (why.code, why.field, why.reason) == ("INVALID_ARGUMENT", field, reason), kind
        assert set(await stored(client, "one", "two", "bad")) == {"one", "two"}


async def test_another_dimension_fails_alone_naming_both(client: Client):
    results = await client.upsert(
        {"id": "a", "image_vector": np.ones(3)}, {"id": "b", "image_vector": unit(1)}
    )
    why = refusal(results[0].status)
    assert (why.code, why.reason, why.field) == (
        "FAILED_PRECONDITION",
        "DIMENSION_MISMATCH",
        "points[0].image_vector",
    )
    assert (why.metadata["request_dimension"], why.metadata["collection_dimension"]) == ("3", "8")
    assert set(await stored(client, "a", "b")) == {"b"}


async def test_a_bad_replacement_leaves_the_point_as_it_was(client: Client):
    await client.upsert({"id": "a", "text": "x", "payload": {"version": 1}})
    await client.upsert({"id": "a", "image": b"no picture", "payload": {"version": 2}})
    assert dict((await stored(client, "a"))["a"].payload) == {"version": 1}


async def test_of_several_points_with_one_id_the_last_good_one_wins(client: Client):
    results = await client.upsert(
        {"id": "a", "text": "x", "payload": {"n": 1}},
        {"id": "a", "text": "x", "payload": {"n": 2}},
        {"id": "a", "text": " ", "payload": {"n": 3}},
    )
    assert [result.status.code for result in results[:2]] == [0, 0]
    assert refusal(results[2].status).reason == "TEXT_EMPTY"
    assert dict((await stored(client, "a"))["a"].payload) == {"n": 2}


async def test_a_text_that_was_cut_is_told(client: Client):
    results = await client.upsert({"id": "a", "text": "x" * (CONTEXT + 7)}, {"id": "b", "text": "x"})
    assert [result.tokens_dropped for result in results] == [7, 0]


async def test_too_few_or_too_many_points_fail_the_call(client: Client):
    for count in (0, 33):
        why = await refused(client.upsert(*({"id": str(i), "text": "x"} for i in range(count))))
        assert (why.code, why.field, why.reason) == ("INVALID_ARGUMENT", "points", "COUNT_OUT_OF_RANGE")


async def test_without_the_encoder_nothing_is_written_but_ready_vectors_can_be(client: Client, encoder):
    await encoder.stop()
    why = await refused(client.upsert({"id": "ready", "image_vector": unit(1)}, {"id": "a", "text": "x"}))
    assert (why.code, why.reason) == ("UNAVAILABLE", "ENCODER_UNAVAILABLE")
    assert await stored(client, "ready", "a") == {}
    results = await client.upsert({"id": "ready", "image_vector": unit(1)})
    assert results[0].status.code == 0


async def test_another_model_is_refused_naming_both_and_nothing_is_written(client: Client, encoder):
    encoder.fingerprint = "fake-2"
    why = await refused(client.upsert({"id": "ready", "image_vector": unit(1)}, {"id": "a", "text": "x"}))
    assert (why.code, why.reason) == ("FAILED_PRECONDITION", "FINGERPRINT_MISMATCH")
    assert "fake-1" in why.message
    assert "fake-2" in why.message
    assert await stored(client, "ready", "a") == {}


async def test_ready_vectors_of_another_space_are_refused(client: Client):
    why = await refused(client.upsert({"id": "a", "image_vector": unit(1)}, fingerprint="other"))
    assert (why.code, why.reason) == ("FAILED_PRECONDITION", "FINGERPRINT_MISMATCH")
    results = await client.upsert({"id": "a", "image_vector": unit(1)}, fingerprint="fake-1")
    assert results[0].status.code == 0


async def test_an_encoder_with_the_right_name_but_another_dimension_is_refused(client: Client, encoder):
    encoder.vectors = {"x": np.ones(DIMENSION + 1)}
    results = await client.upsert({"id": "a", "text": "x"}, {"id": "b", "text": "y"})
    why = refusal(results[0].status)
    assert (why.code, why.reason) == ("FAILED_PRECONDITION", "DIMENSION_MISMATCH")
    assert set(await stored(client, "a", "b")) == {"b"}


async def test_invalid_utf8_is_the_callers_fault(client: Client):
    good = search_pb2.UpsertRequest(collection="c", points=[point("a", text="words")]).SerializeToString()
    send = client.channel.unary_unary("/clipsearch.search.v1.SearchService/Upsert")
    why = await refused(send(good.replace(b"words", b"\xff\xfe\xff\xfe\xff")))
    assert (why.code, why.reason) == ("INVALID_ARGUMENT", "REQUEST_NOT_DECODABLE")
