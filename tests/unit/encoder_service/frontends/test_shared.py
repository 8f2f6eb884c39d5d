"""Shared memory: each slot has one owner, counts add up, and nothing has a name that could be left behind."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoder_service.frontends.shared import Ledger, Segment, Shape, Slots, create, slots_of


@pytest.fixture
def descriptor() -> Iterator[int]:
    made = create("test", Shape(4, 8, 16).bytes)
    yield made
    os.close(made)


def new_slots(count: int) -> Slots:
    descriptor = create("test", Shape(count, 8, 16).bytes)
    try:
        return Slots(Segment.of(descriptor, Shape(count, 8, 16)))
    finally:
        os.close(descriptor)


def test_two_mappings_are_one_memory_and_pixels_and_vectors_do_not_meet(descriptor: int) -> None:
    one, other = (Segment.of(descriptor, Shape(4, 8, 16)) for _ in range(2))
    one.pixels[3] = 7
    other.vectors[0] = 0.5
    assert (other.pixels[3] == 7).all()
    assert (one.vectors[0] == 0.5).all()
    assert (one.pixels[:3] == 0).all()
    assert (one.pixels[3] == 7).all()


def test_the_memory_has_no_name_and_cannot_be_cut_short(descriptor: int) -> None:
    assert not list(Path("/dev/shm").glob("*clipsearch*"))
    with pytest.raises(PermissionError):
        os.ftruncate(descriptor, 10)
    with pytest.raises(PermissionError):
        os.ftruncate(descriptor, 1 << 20)


def test_a_front_end_has_no_more_slots_than_pictures_may_wait() -> None:
    assert (slots_of(8), slots_of(100_000)) == (8, 512)


@given(st.lists(st.sampled_from(["take", "give", "cancel"]), max_size=60))
def test_no_slot_has_two_owners_and_none_is_lost(steps: list[str]) -> None:
    async def play() -> None:
        slots = new_slots(3)
        held: dict[asyncio.Task[None], asyncio.Event] = {}
        owners: list[int] = []

        async def own(leave: asyncio.Event) -> None:
            async with slots.taken() as slot:
                assert slot not in owners
                owners.append(slot)
                try:
                    await leave.wait()
                finally:
                    owners.remove(slot)

        for step in steps:
            if step == "take":
                leave = asyncio.Event()
                held[asyncio.create_task(own(leave))] = leave
            elif held and step == "give":
                held.pop(next(iter(held))).set()
            elif held:
                task, _ = held.popitem()
                task.cancel()
            for _ in range(3):
                await asyncio.sleep(0)
            assert len(owners) <= 3
        for leave in held.values():
            leave.set()
        await asyncio.gather(*held)
        for _ in range(3):
            await asyncio.sleep(0)
        assert (slots.free, slots.waiting) == (3, 0)

    asyncio.run(play())


async def test_a_fourth_picture_waits_for_the_first_free_slot() -> None:
    slots = new_slots(1)
    async with slots.taken() as first:
        waiting = asyncio.create_task(slots.taken().__aenter__())
        await asyncio.sleep(0)
        assert (slots.waiting, waiting.done()) == (1, False)
    assert await waiting == first


def test_counts_add_up_over_front_ends_and_a_dead_one_leaves_only_what_it_has_done() -> None:
    descriptor = create("test", Ledger.size(3))
    ledgers = [Ledger(descriptor, 3) for _ in range(4)]
    houses = [ledger.houses(row) for row, ledger in enumerate(ledgers[:3])]
    calls = [ledger.calls(row) for row, ledger in enumerate(ledgers[:3])]
    for row in range(3):
        houses[row].images.items.own += row + 1
        houses[row].texts.done.own += 10
        calls[row].own += 1
    assert houses[0].images.items.total == 6
    assert houses[0].images.items.own == 1
    assert [house.texts.items.total for house in houses] == [0, 0, 0]
    ledgers[3].forget(2)
    assert (houses[0].images.items.total, calls[0].total) == (3, 2)
    assert houses[0].texts.done.total == 30
    again = Ledger(descriptor, 3).houses(2)
    assert (again.images.items.own, again.texts.done.own) == (0, 10)
    os.close(descriptor)


def test_a_count_is_written_as_a_whole_number_of_64_bits() -> None:
    descriptor = create("test", Ledger.size(1))
    tally = Ledger(descriptor, 1).calls(0)
    tally.own += 2**40
    assert np.frombuffer(os.pread(descriptor, 8, 0), np.int64)[0] == 2**40
    os.close(descriptor)
