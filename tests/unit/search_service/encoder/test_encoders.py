"""One encoder or two: every collection is served by the one whose model filled it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from clipsearch.search.v1 import collection_pb2 as pb
from search_service.settings import SearchSettings
from tests.unit.search_service.served import DIMENSION, Client, FakeEncoder, refused, serving, term


@pytest.fixture
async def client(
    tmp_path: Path, encoder: FakeEncoder, second: FakeEncoder, settings: SearchSettings
) -> AsyncIterator[Client]:
    async with serving(tmp_path / "data", encoder.address, settings, second.address) as client:
        yield client


async def test_a_model_is_named_by_name_or_fingerprint_or_is_the_first(client: Client):
    made = [await client.create(f"c{n}", model=model) for n, model in enumerate(("", "other", "fake-2"))]
    assert [(c.model, c.fingerprint) for c in made] == [
        ("fake", "fake-1"),
        ("other", "fake-2"),
        ("other", "fake-2"),
    ]


async def test_an_unknown_model_is_refused_with_those_there_are(client: Client):
    why = await refused(client.create(model="nobody's"))
    assert (why.code, why.reason, why.field) == ("INVALID_ARGUMENT", "MODEL_UNKNOWN", "model")
    assert "fake (fake-1), other (fake-2)" in why.message


async def test_a_name_that_two_models_have_is_refused(client: Client, second: FakeEncoder):
    second.name = "fake"
    why = await refused(client.create(model="fake"))
    assert (why.reason, "two models" in why.message) == ("MODEL_UNKNOWN", True)
    assert (await client.create(model="fake-2")).fingerprint == "fake-2"


async def test_a_second_encoder_that_is_away_concerns_only_its_own_collections(
    client: Client, second: FakeEncoder
):
    await client.create("a")
    await client.create("b", model="other")
    await second.stop()
    assert [r.status.code for r in await client.upsert({"id": "x", "text": "x"}, collection="a")] == [0]
    why = await refused(client.search(term("x"), collection="b"))
    assert (why.code, why.reason, why.metadata["encoder"]) == ("UNAVAILABLE", "ENCODER_UNAVAILABLE", "second")
    assert "second encoder" in why.message
    why = await refused(client.create("c", model="other"))
    assert why.metadata["encoder"] == "second"


async def test_the_second_encoder_serves_its_own_while_the_first_is_away(
    client: Client, encoder: FakeEncoder
):
    await client.create("b", model="other")
    await encoder.stop()
    await client.upsert({"id": "x", "text": "x"}, collection="b")
    assert [hit.id for hit in (await client.search(term("x"), collection="b")).hits] == ["x"]


async def test_encoders_that_change_places_are_found_again(
    client: Client, encoder: FakeEncoder, second: FakeEncoder
):
    await client.create("a")
    await client.upsert({"id": "x", "text": "x"}, collection="a")
    encoder.fingerprint, second.fingerprint = "fake-2", "fake-1"
    assert [hit.id for hit in (await client.search(term("x"), collection="a")).hits] == ["x"]
    assert second.calls[-1] == ("EncodeText", 1)


async def test_a_collection_of_neither_model_is_refused_naming_all(client: Client):
    await client.create(dimension=DIMENSION, fingerprint="foreign")
    why = await refused(client.search(term("x")))
    assert (why.code, why.reason) == ("FAILED_PRECONDITION", "FINGERPRINT_MISMATCH")
    assert all(fingerprint in why.message for fingerprint in ("foreign", "fake-1", "fake-2"))


async def test_one_encoder_is_never_asked_for_its_model_to_encode(
    tmp_path: Path, encoder: FakeEncoder, settings: SearchSettings
):
    async with serving(tmp_path / "one", encoder.address, settings) as client:
        await client.create()
        encoder.calls.clear()
        await client.upsert({"id": "x", "text": "x"})
        assert encoder.calls == [("EncodeText", 1)]
        found = await client.collections.GetCollection(pb.GetCollectionRequest(name="c"))
        assert found.collection.model == "fake"
