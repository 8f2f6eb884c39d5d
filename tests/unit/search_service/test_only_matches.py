"""Searches for matches alone: what they leave out, and when there is nothing to measure chance by."""

from __future__ import annotations

import numpy as np
import pytest

from clipsearch.search.v1 import search_pb2
from search_service.query.chance import WORDS
from tests.unit.search_service.served import Client, FakeEncoder, ids, refused, term, unit

ANY, IMAGE, TEXT = search_pb2.TARGET_ANY, search_pb2.TARGET_IMAGE, search_pb2.TARGET_TEXT
NOWHERE = unit(0, 0, 0, 0, 0, 0, 0, 1)


def scattered(count: int, seed: int) -> np.ndarray:
    """Vectors of length 1, none of which looks where NOWHERE does."""
    made = np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)
    made[:, 7] = 0
    return made / np.linalg.norm(made, axis=1, keepdims=True)


@pytest.fixture
async def images(client: Client, encoder: FakeEncoder) -> list[np.ndarray]:
    """The collection has images alone; "shown" are the words for the first of them."""
    made = list(scattered(30, 1))
    await client.create()
    await client.upsert(*({"id": f"i{n}", "image_vector": one} for n, one in enumerate(made)))
    encoder.vectors |= {"shown": made[0], "absent": NOWHERE, b"shown": made[0], b"absent": NOWHERE}
    return made


@pytest.fixture
async def both(client: Client, images) -> None:
    """It has texts as well, of other points."""
    await client.upsert(*({"id": f"t{n}", "text_vector": one} for n, one in enumerate(scattered(30, 2))))


@pytest.mark.parametrize("target", [ANY, IMAGE])
async def test_words_find_what_is_shown_or_nothing_where_there_are_images_alone(client, images, target):
    everything = await client.search(term("shown"), target=target)
    found = await client.search(term("shown"), target=target, only_matches=True)

    assert 1 <= len(found.hits) < 10
    assert found.hits[0].cosine == pytest.approx(1)
    assert ids(found) == ids(everything)[: len(found.hits)]
    assert [hit.score for hit in found.hits] == [hit.score for hit in everything.hits[: len(found.hits)]]
    assert not ids(await client.search(term("absent"), target=target, only_matches=True))
    assert len((await client.search(term("absent"), target=target)).hits) == 10


async def test_plain_words_are_encoded_once_until_the_collection_has_doubled(client, encoder, images):
    def encoded() -> list[int]:
        return [items for name, items in encoder.calls if name == "EncodeText" and items > 1]

    for _ in range(2):
        await client.search(term("shown"), only_matches=True)
    assert sum(encoded()) == len(WORDS) == 128
    await client.upsert(*({"id": f"j{n}", "image_vector": one} for n, one in enumerate(scattered(30, 3))))
    await client.search(term("shown"), only_matches=True)
    assert sum(encoded()) == 2 * len(WORDS)


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize("fusion", ["CALIBRATED", "RRF", "DBSF"])
async def test_of_both_names_what_is_chance_to_either_is_left_out(client, encoder, fusion):
    fusion = search_pb2.Fusion.Value(f"FUSION_{fusion}")
    by_words = await client.search(term("shown"), limit=60)
    chance = {hit.id for hit in by_words.hits if hit.weak}

    everything = await client.search(term("shown"), limit=60, fusion=fusion)
    found = await client.search(term("shown"), limit=60, fusion=fusion, only_matches=True)

    assert 0 < len(chance) < 60
    assert [(hit.id, hit.score) for hit in found.hits] == [
        (hit.id, hit.score) for hit in everything.hits if hit.id not in chance
    ]
    assert found.fused
    assert not any(hit.weak for hit in found.hits)
    assert not ids(await client.search(term("absent"), fusion=fusion, only_matches=True))
    assert encoder.calls.count(("EncodeText", 1)) == 4  # no plain words


@pytest.mark.usefixtures("both")
async def test_pages_end_with_the_matches(client):
    whole = ids(await client.search(term("shown"), limit=60, only_matches=True))
    pages = [
        ids(await client.search(term("shown"), limit=3, offset=offset, only_matches=True))
        for offset in range(0, len(whole) + 3, 3)
    ]
    assert [id for page in pages for id in page] == whole


async def test_images_vectors_and_several_terms_are_asked_alike(client, images):
    for query in ([term(b"shown")], [term(images[0])], [term(b"shown"), term(images[0], weight=0.5)]):
        assert (await client.search(*query, only_matches=True)).hits[0].id == "i0"
    for query in ([term(b"absent")], [term(NOWHERE)], [term(b"absent"), term("absent", weight=0.5)]):
        assert not ids(await client.search(*query, only_matches=True))


async def test_each_search_of_a_batch_has_its_own(client, images):
    searches = [
        search_pb2.SearchRequest(collection="c", query=[term("absent")], limit=4, only_matches=only)
        for only in (True, False)
    ]
    batch = await client.points.SearchBatch(search_pb2.SearchBatchRequest(searches=searches))
    assert [len(answer.hits) for answer in batch.results] == [0, 4]


async def test_images_among_texts_alone_are_refused(client, encoder):
    await client.create()
    await client.upsert(*({"id": f"t{n}", "text": f"text {n}"} for n in range(20)))
    search = search_pb2.SearchRequest(collection="c", query=[term(b"picture")], only_matches=True)

    error = await refused(client.points.SearchBatch(search_pb2.SearchBatchRequest(searches=[search])))

    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "CHANCE_UNKNOWN")
    assert error.message.startswith("searches[0]: only_matches: collection 'c' has no images")
    found = ids(await client.search(term("text 3"), only_matches=True))
    assert found[0] == "t3"
    assert len(found) < 10


async def test_an_empty_collection_has_no_match(client):
    await client.create()
    assert not ids(await client.search(term("anything"), only_matches=True))
