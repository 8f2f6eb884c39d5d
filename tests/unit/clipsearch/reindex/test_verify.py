"""After the backfill: what differs is found and mended, what cannot be is listed."""

from __future__ import annotations

import pytest

from clipsearch.client.aio import AsyncClient
from clipsearch.client.inputs import Point
from clipsearch.reindex.backfill import Backfill
from clipsearch.reindex.compare import compare
from clipsearch.reindex.verify import verify
from tests.unit.search_service.served import unit


def words(n: int, **payload: object) -> Point:
    return Point(f"p{n}", text=f"text {n}", payload={"text": f"text {n}", **payload})


@pytest.fixture
async def filled(client: AsyncClient) -> Backfill:
    """Two collections alike, of 40 texts."""
    await client.upsert("old", [words(n) for n in range(40)])
    await client.create_collection("new", model="two")
    backfill = Backfill(client, "old", "new")
    await backfill.run()
    return backfill


async def alike(client: AsyncClient) -> bool:
    old, new = [
        {point.id: point.payload async for point in client.list_points(name)} for name in ("old", "new")
    ]
    return old == new


async def test_two_collections_alike_need_nothing(filled):
    done = await verify(filled)
    assert (done.points, done.removed, done.renewed, done.complete) == (40, 0, 0, True)


async def test_what_was_deleted_is_removed_and_what_is_missing_or_differs_is_made_anew(
    client, filled, encoders
):
    await client.delete_points("old", ["p4", "p5"])
    await client.delete_points("new", ["p1"])
    await client.upsert("new", [Point("p2", text="stale", payload={"text": "stale"})])
    await client.upsert("old", [words(3, version=2), words(99)])
    done = await verify(filled)
    assert (done.removed, done.renewed, done.complete) == (2, 4, True)
    assert await alike(client)
    [found] = await client.get_points("new", ["p2"], with_vectors=True)
    assert found.text_vector == pytest.approx(encoders[1]._vector("text 2"), abs=1e-6)


async def test_what_cannot_be_made_is_listed_and_a_stale_copy_does_not_stay(client, filled):
    await client.upsert("old", [Point("p5", text_vector=unit(1), payload={"n": 1})])
    done = await verify(filled)
    assert [(one.id, one.kind) for one in done.lacking] == [("p5", "not re-encodable")]
    assert not done.complete
    assert await client.get_points("new", ["p5"]) == []


async def test_points_without_vectors_are_alike_and_a_stand_in_does_not_stay(client, filled):
    await client.delete_vectors("old", [f"p{n}" for n in range(38)], vectors=["text"])
    # As a run leaves it that was killed before it took the vector that stood in.
    await client.upsert("new", [Point("p5", image_vector=unit(1), payload={"text": "text 5"})])
    done = await verify(filled)
    assert (done.renewed, done.complete) == (38, True)
    assert await alike(client)
    assert (await client.get_collection("new")).image_vectors == 0


async def test_pages_are_compared_to_the_last(client, filled):
    await client.upsert("old", [words(n) for n in range(100, 300)])
    await client.upsert("old", [words(n) for n in range(300, 500)])
    assert (await verify(filled)).renewed == 400
    assert await alike(client)


async def test_the_overlap_is_that_of_the_best_ten(client, filled, encoders):
    found = await compare(client, "old", "new", 35, ["text 1"])
    assert found is not None
    assert len(found.queries) == 36
    assert [q.overlap for q in found.queries] == sorted(q.overlap for q in found.queries)
    for query in found.queries:
        assert len(query.old) == len(query.new) == 10
        assert query.overlap == len(set(query.old) & set(query.new)) / 10
    assert 0 < found.mean < 1, "two random models: some of 40 are shared by chance"
    await client.delete_points("new", ["p0"])
    await client.delete_vectors("new", ["p1"], vectors=["text"])
    fewer = await compare(client, "new", "old", 40, [])
    assert fewer is not None
    assert len(fewer.queries) == 38, "a point that one of them has not got, or not its vector, is left out"
    same = await compare(client, "old", "old", 3, [])
    assert same is not None
    assert (same.median, same.mean) == (1, 1)
    assert await compare(client, "old", "new", 0, []) is None


async def test_the_points_to_ask_by_are_the_same_each_time_and_have_vectors(client, filled):
    found = [await compare(client, "old", "new", 10, []) for _ in range(2)]
    assert found[0] == found[1]
    asked = {query.query for query in found[0].queries}
    assert len(asked) == 10
    bare = [f"p{n}" for n in range(40) if f"p{n}" not in asked][:25]
    await client.delete_vectors("new", bare, vectors=["text"])
    again = await compare(client, "old", "new", 10, [])
    assert {query.query for query in again.queries} == asked
