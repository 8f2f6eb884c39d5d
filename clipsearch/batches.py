"""Long lists in batches that a call takes, and several of them under way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def batched(
    items: Iterable[Item],
    most: int | Callable[[], int],
    most_bytes: int | None = None,
    size_of: Callable[[Item], int] = len,  # type: ignore[assignment]
) -> Iterator[list[Item]]:
    """`items` in order, in lists of at most `most` and of about `most_bytes` bytes; none is empty.

    Sizes count only with `most_bytes`. A longer item is a list by itself. Takes no more of `items` than it
    needs for the next list. `most` may be asked anew for each.
    """
    batch: list[Item] = []
    size = 0
    for item in items:
        length = 0 if most_bytes is None else size_of(item)
        if batch and most_bytes is not None and size + length > most_bytes:
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += length
        if len(batch) >= (most() if callable(most) else most):
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


async def side_by_side(
    items: Iterator[Item], work: Callable[[Item], Awaitable[object]], workers: int
) -> None:
    """Awaits `work` for each item, several at a time. Raises what the first raises that fails."""

    async def take() -> None:
        for item in items:  # the next that no other worker has
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(take())
    except* Exception as errors:
        raise errors.exceptions[0] from None
