"""Filling the new collection: all of it, nothing twice, never over a newer write."""

from __future__ import annotations

import asyncio

import pytest

from clipsearch.client.aio import AsyncClient
from clipsearch.client.errors import ClipSearchError
from clipsearch.client.inputs import Point
from clipsearch.reindex.backfill import Backfill, Progress
from clipsearch.reindex.sources import Fields
from clipsearch.serving.errors import ResourceExhausted
from tests.unit.search_service.served import unit


@pytest.fixture
async def backfill(client: AsyncClient) -> Backfill:
    """Of 70 texts, into the empty collection `new`, which is linked."""
    await client.upsert(
        "old", [Point(f"p{n}", text=f"text {n}", payload={"text": f"text {n}", "n": n}) for n in range(70)]
    )
    await client.create_collection("new", model="two")
    await client.set_successor("old", "new")
    return Backfill(client, "old", "new")


async def points(client: AsyncClient, collection: str) -> dict[str, object]:
    return {point.id: point.payload async for point in client.list_points(collection)}


async def test_everything_is_written_as_the_new_model_encodes_it(client, encoders, backfill):
    seen: list[Progress] = []
    backfill.on_progress = seen.append
    await backfill.run()
    assert await points(client, "new") == await points(client, "old")
    assert backfill.progress == Progress(encoded=70) == seen[-1]
    [found] = await client.get_points("new", ["p7"], with_vectors=True)
    assert found.text_vector == pytest.approx(encoders[1]._vector("text 7"), abs=1e-6)


async def test_what_is_there_is_neither_encoded_nor_replaced(client, encoders, backfill):
    await client.upsert("old", [Point("p3", text="newer", payload={"version": 2})])
    await backfill.run()
    encoders[1].calls.clear()
    again = Backfill(client, "old", "new")
    await again.run()
    assert again.progress == Progress(already=70)
    assert encoders[1].calls == []
    assert (await points(client, "new"))["p3"] == {"version": 2}


async def test_a_write_between_reading_and_writing_wins(client, encoders, backfill, monkeypatch):
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def called(name: str, items: int) -> None:
        if items > 1:  # the pages were read by then
            reached.set()
            await go_on.wait()

    monkeypatch.setattr(encoders[1], "_called", called)
    running = asyncio.create_task(backfill.run())
    await reached.wait()
    await client.upsert("old", [Point("p3", text="newer", payload={"version": 2})])
    go_on.set()
    await running
    assert (await points(client, "new"))["p3"] == {"version": 2}
    assert await client.count("new") == 70


async def test_points_that_cannot_be_made_again_are_listed_and_do_not_stop_the_others(client, backfill):
    await client.upsert(
        "old",
        [
            Point("ready", text_vector=unit(1)),
            Point("white", text="words", payload={"text": " "}),
        ],
    )
    await client.delete_points("new", ["white"])
    await backfill.run()
    assert {id: one.kind for id, one in backfill.lacking.items()} == {
        "ready": "not re-encodable",
        "white": "failed",
    }
    assert "white space" in backfill.lacking["white"].reason
    assert backfill.progress == Progress(encoded=70, lacking=2)


async def test_points_without_vectors_are_carried_over_as_they_are(client, encoders, backfill):
    bare = [f"p{n}" for n in range(20)]
    await client.delete_vectors("old", bare, vectors=["text"])
    await backfill.run()
    assert backfill.progress == Progress(encoded=50, bare=20)
    assert await points(client, "new") == await points(client, "old")
    found = {point.id: (point.has_image, point.has_text) async for point in client.list_points("new")}
    assert {id for id, has in found.items() if has == (False, False)} == set(bare)
    again = Backfill(client, "old", "new")
    await again.run()
    assert again.progress == Progress(already=70)


async def test_a_vector_that_a_writer_gives_meanwhile_is_not_taken_for_the_stand_in(
    client, backfill, monkeypatch
):
    await client.upsert("old", [Point("p3", text="text 3")])
    await client.delete_points("new", ["p3"])
    await client.delete_vectors("old", ["p3"], vectors=["text"])
    upsert = client.upsert

    async def overtaken(collection, points, **options):
        results = await upsert(collection, points, **options)
        if "p3" in [point.id for point in points]:
            await upsert("old", [Point("p3", image=b"written meanwhile")])
        return results

    monkeypatch.setattr(client, "upsert", overtaken)
    await backfill.run()
    (found,) = await client.get_points("new", ["p3"])
    assert found.has_image


async def test_a_busy_encoder_is_waited_for(client, encoders, backfill):
    encoders[1].error = ResourceExhausted("full", "QUEUE_FULL", retry_after_s=0.1)
    running = asyncio.create_task(backfill.run())
    await asyncio.sleep(0.3)
    assert not running.done()
    encoders[1].error = None
    await running
    assert await client.count("new") == 70


async def test_a_service_that_refuses_ends_the_run_with_its_error(client, backfill):
    await client.delete_collection("new")
    with pytest.raises(ClipSearchError) as refused:
        await backfill.run()
    assert refused.value.reason == "COLLECTION_NOT_FOUND"


async def test_other_fields_may_hold_the_words(client, backfill):
    await client.upsert("old", [Point("c", text="caption", payload={"caption": "caption"})])
    await client.delete_points("new", ["c"])
    await Backfill(client, "old", "new", Fields(text="caption")).run()
    assert set(await points(client, "new")) == {"c"}
