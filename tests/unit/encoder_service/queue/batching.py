"""A batcher for tests, with a session that records what reaches it."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from encoder_service.queue.batcher import Batcher, Computed
from tests.waiting import until

NO_NUMBER = 666


@dataclass(frozen=True)
class Item:
    """An item: what its vector must say, and its weight."""

    name: int
    weight: int = 1


class RecordingSession:
    """Answers each item with a vector of its name; may be held, so that a test decides when it is busy."""

    def __init__(self) -> None:
        self.batches: list[list[Item]] = []
        self.free = threading.Event()
        self.free.set()
        self.seconds = 0.0

    def run(self, items: Sequence[Item]) -> NDArray[np.float32]:
        self.batches.append(list(items))
        assert self.free.wait(60)
        time.sleep(self.seconds)
        if any(item.name < 0 for item in items):
            raise RuntimeError("the session broke")
        names = [math.nan if item.name == NO_NUMBER else item.name for item in items]
        return np.array([[name, name] for name in names], dtype=np.float32)

    @property
    def seen(self) -> list[int]:
        return [item.name for batch in self.batches for item in batch]


@asynccontextmanager
async def batcher(
    session: RecordingSession, executor: ThreadPoolExecutor, capacity: int = 8
) -> AsyncIterator[Batcher[Item]]:
    async with Batcher(session.run, executor, capacity, weigh=lambda item: item.weight) as made:
        yield made


@asynccontextmanager
async def held(session: RecordingSession, made: Batcher[Item]) -> AsyncIterator[None]:
    """Keeps the session busy with an item of its own while the block queues others."""
    session.free.clear()
    first = asyncio.create_task(compute(made, Item(0)))
    try:
        await until(lambda: bool(session.batches))
        session.batches.clear()
        yield
        await asyncio.sleep(0.01)  # lets the tasks of the block reach the queue
    finally:
        session.free.set()
    await first


async def compute(made: Batcher[Item], item: Item, deadline: float = math.inf) -> Computed:
    return (await request(made, [item], deadline))[0]


async def request(
    made: Batcher[Item],
    items: Sequence[Item],
    deadline: float = math.inf,
    keys: Sequence[str] | None = None,
) -> list[Computed]:
    with made.group(deadline) as group:
        group.submit(items, keys)
        return await group.answers()


def ask(made: Batcher[Item], item: Item, deadline: float = math.inf) -> asyncio.Task[Computed]:
    return asyncio.create_task(compute(made, item, deadline))
