"""Memory is never given out twice; who waits gets it in turn, and a small image past a large one."""

from __future__ import annotations

import asyncio
import random

import pytest

from encoder_service.inputs.budget import MemoryBudget, Reservation
from tests.waiting import at_once, settled


def taken(budget: MemoryBudget, size: int) -> Reservation:
    reservation = budget.try_take(size)
    assert reservation is not None
    return reservation


def test_what_is_given_back_is_there_again() -> None:
    budget = MemoryBudget(800)
    assert (budget.size, budget.most, budget.used) == (800, 700, 0)
    large = taken(budget, 700)
    assert budget.try_take(101) is None
    small = taken(budget, 100)
    assert (budget.used, budget.try_take(1)) == (800, None)
    budget.give_back(large)
    budget.give_back(small)
    assert budget.used == 0
    taken(budget, 700)


async def test_more_than_there_will_ever_be_is_not_waited_for() -> None:
    with pytest.raises(ValueError, match="701 of at most 700"):
        at_once(MemoryBudget(800).take(701))


async def test_large_images_wait_in_turn_and_a_later_one_that_would_fit_does_not_overtake() -> None:
    budget = MemoryBudget(800)
    first = taken(budget, 400)
    order: list[int] = []

    async def take(size: int) -> None:
        reservation = await budget.take(size)
        order.append(size)
        budget.give_back(reservation)

    waiting = [asyncio.create_task(take(size)) for size in (600, 200)]
    await settled()
    assert (order, budget.waiting) == ([], 2)
    assert budget.try_take(150) is None, "it may not pass those who wait"
    budget.give_back(first)
    await asyncio.gather(*waiting)
    assert order == [600, 200]
    assert budget.used == 0


async def test_small_images_pass_a_large_one_that_waits_without_taking_what_it_waits_for() -> None:
    budget = MemoryBudget(800)
    first = taken(budget, 400)
    large = asyncio.create_task(budget.take(700))
    await settled()
    smalls = [taken(budget, 50), taken(budget, 50)]
    third = asyncio.create_task(budget.take(50))
    await settled()
    assert not third.done(), "300 bytes are free, and they are the large one's"
    budget.give_back(first)
    assert (await large).size == 700
    budget.give_back(smalls[0])
    assert (await third).size == 50


async def test_who_stops_waiting_makes_way_and_keeps_nothing() -> None:
    budget = MemoryBudget(800)
    first = taken(budget, 400)
    large = asyncio.create_task(budget.take(700))
    await settled()
    behind = asyncio.create_task(budget.take(200))
    await settled()
    large.cancel()
    assert (await behind).size == 200
    again = asyncio.create_task(budget.take(500))
    await settled()
    budget.give_back(first)  # granted, and cancelled before it ran
    again.cancel()
    with pytest.raises(asyncio.CancelledError):
        await again
    assert (budget.used, budget.waiting) == (200, 0)


async def test_whatever_comes_goes_and_gives_up_nothing_is_lost_and_nobody_forgotten() -> None:
    random.seed(5)
    budget = MemoryBudget(1000)
    most = answered = 0

    async def image(size: int) -> None:
        nonlocal most, answered
        reservation = await budget.take(size)
        most = max(most, budget.used)
        await asyncio.sleep(0)
        await asyncio.to_thread(budget.give_back, reservation)
        answered += 1

    tasks = [asyncio.create_task(image(random.choice([10, 60, 125, 126, 400, 875]))) for _ in range(400)]
    given_up = random.sample(tasks, 60)
    await settled()
    for task in given_up:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert answered >= 340
    assert (budget.used, budget.waiting) == (0, 0)
    assert 875 <= most <= 1000
