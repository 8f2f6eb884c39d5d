"""Beginning a move, finding it again, and the swap."""

from __future__ import annotations

import dataclasses

import pytest

from clipsearch.client.aio import AsyncClient
from clipsearch.client.inputs import Point
from clipsearch.reindex.move import NotMovable, begin, default_name, swap
from tests.unit.clipsearch.ingest.served import a_collection


async def test_the_new_collection_is_like_the_old_but_for_its_model(client: AsyncClient):
    await client.update_alias("alias", "old")
    move = await begin(client, "alias", "two")
    assert (move.old.name, move.new.name, move.alias, move.resumed) == ("old", "old-two", "alias", False)
    assert (await client.get_collection("old")).successor == "old-two"
    same = {"name": "", "model": "", "fingerprint": "", "aliases": (), "disk_bytes": 0}
    assert dataclasses.replace(move.new, **same) == dataclasses.replace(move.old, **same)
    assert (move.new.model, move.new.fingerprint) == ("two", "two")


async def test_a_move_is_found_again_also_if_it_was_killed_before_the_link(client: AsyncClient):
    await client.create_collection("old-two", model="two")
    first = await begin(client, "old", "two")
    again = await begin(client, "old", "two", alias="other")
    assert [(m.new.name, m.alias, m.resumed) for m in (first, again)] == [
        ("old-two", "", False),
        ("old-two", "other", True),
    ]


async def test_what_cannot_be_moved_is_told_and_left_as_it_was(client: AsyncClient):
    await client.create_collection("full", model="two")
    await client.create_collection("linked")
    await client.upsert("full", [Point("a", text="words")])
    await client.set_successor("linked", "full")
    for named, model, to, why in [
        ("old", "one", "", "is of the model one (one) already"),
        ("old", "two", "full", "there is a collection 'full' already"),
        ("linked", "one", "", "moves to 'full' (model two) already"),
        ("linked", "two", "elsewhere", "moves to 'full' already, not to 'elsewhere'"),
    ]:
        with pytest.raises(NotMovable) as refused:
            await begin(client, named, model, to)
        assert why in str(refused.value)
        assert (await client.get_collection("old")).successor == ""
        assert {c.name for c in await client.list_collections()} == {"old", "full", "linked"}


async def test_a_collection_does_not_move_to_itself(client: AsyncClient):
    await client.update_alias("alias", "old")
    with pytest.raises(NotMovable, match="cannot be 'old', the old one; give it another name"):
        await begin(client, "alias", "two", to="old")


async def test_after_the_swap_a_move_is_done_and_its_points_are_safe(client: AsyncClient):
    await client.update_alias("alias", "old")
    move = await begin(client, "alias", "two")
    await swap(client, move, keep_old_current=False)
    assert (await client.get_collection("alias")).name == "old-two"
    with pytest.raises(NotMovable, match="is in use: alias 'alias' points at it"):
        await begin(client, "old", "two")


async def test_an_old_collection_that_is_kept_current_does_not_stop_the_next_move(client: AsyncClient):
    await client.update_alias("alias", "old")
    move = await begin(client, "alias", "two")
    await swap(client, move, keep_old_current=True)
    await client.upsert("alias", [Point("a", text="words")])
    assert await client.count("old") == 1
    back = await begin(client, "alias", "one")
    assert (back.old.name, back.new.name, back.resumed) == ("old-two", "old", True)
    assert (await client.get_collection("old")).successor == "", "or what is mended there came back"


@pytest.mark.parametrize(
    ("old", "model", "new"),
    [
        ("shop", "two", "shop-two"),
        ("shop-one", "two", "shop-two"),
        ("shop-one", "one", "shop-one-2"),
        ("shop", "google/siglip 2", "shop-google-siglip-2"),
        ("s" * 128, "m" * 100, "s" * 67 + "-" + "m" * 60),
        ("shop", "//", "shop-new"),
    ],
)
def test_names_tell_the_model_and_are_names(old, model, new):
    assert default_name(dataclasses.replace(a_collection(old), model="one"), model) == new
