"""The main job through real processes: load photographs, find them again, survive a restart."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from clipsearch import AsyncClient, Client, ClipSearchError, Point

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client(search):
    with Client(search.address) as client:
        yield client


@pytest.fixture(scope="module")
def pictures(client, photos: list[Path]) -> str:
    """A collection with the sample photographs, under their file names."""
    client.create_collection("pictures")
    points = [Point(p.stem, image=p, payload={"path": p.name}) for p in photos]
    results = client.upsert("pictures", points)
    assert [result.id for result in results] == [p.stem for p in photos]
    assert [result.error for result in results] == [None] * len(photos)
    return "pictures"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("a cat", "chelsea"),
        ("a cup of coffee", "coffee"),
        ("a motorcycle", "motorcycle"),
        ("a flower", "flower"),
        ("a rocket", "rocket"),
    ],
)
def test_words_find_the_right_photograph(client, pictures, words, expected):
    assert client.search(pictures, words, target="image")[0].id.startswith(expected)


def test_a_picture_finds_its_twin(client, pictures):
    hits = client.search(pictures, point_id="motorcycle_left", target="image", limit=3)
    assert hits[0].id == "motorcycle_right"
    assert "motorcycle_left" not in [hit.id for hit in hits]


def test_any_target_is_a_cosine_where_only_pictures_are_stored(client, pictures):
    answer = client.search(pictures, "a cat")
    assert not answer.fused
    assert answer[0].score == pytest.approx(answer[0].cosine)
    assert answer[0].matched == "image"


def test_a_bad_picture_fails_alone(client, pictures):
    before = client.count(pictures)
    good, bad = client.upsert(
        pictures, [Point("good", text="a good text"), Point("bad", image=b"no picture")]
    )
    assert good.error is None
    assert bad.error.code == "INVALID_ARGUMENT"
    assert bad.error.reason == "IMAGE_UNSUPPORTED_FORMAT"
    assert client.count(pictures) == before + 1
    assert [point.id for point in client.get_points(pictures, ["good", "bad"])] == ["good"]
    assert client.delete_points(pictures, ["good"]) == 1


def test_an_unknown_collection_is_not_found(client):
    with pytest.raises(ClipSearchError) as caught:
        client.search("nowhere", "a cat")
    assert caught.value.code == "NOT_FOUND"
    assert "nowhere" in str(caught.value)


def test_eight_callers_at_once_get_the_answers_of_one(search, pictures):
    words = ["a cat", "a rocket", "a flower", "a cup of coffee"] * 8

    async def ask() -> list[list[str]]:
        async with AsyncClient(search.address) as client:
            answers = await asyncio.gather(
                *(client.search(pictures, text, target="image", limit=3) for text in words)
            )
            return [[hit.id for hit in answer] for answer in answers]

    found = asyncio.run(ask())
    assert found[:4] * 8 == found
