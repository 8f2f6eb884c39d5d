"""Large writes to a Qdrant server go in batches, a few of them at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence

from search_service.stores.protocol import VECTOR_NAMES, StoredPoint

_POINTS = 256
_VECTOR_BYTES = 4 << 20
_BYTES_A_NUMBER = 4


def batches(points: Sequence[StoredPoint], dimension: int) -> Iterator[list[StoredPoint]]:
    """At most 256 points a batch, and 4 MiB of vectors; of points with one id the last."""
    last = list({point.id: point for point in points}.values())
    size = max(1, min(_POINTS, _VECTOR_BYTES // (dimension * _BYTES_A_NUMBER * len(VECTOR_NAMES))))
    for start in range(0, len(last), size):
        yield last[start : start + size]


class WriteLimiter:
    """Sends batches of writes, `most` at a time whosever they are."""

    def __init__(self, most: int) -> None:
        self._room = asyncio.Semaphore(most)

    async def send(
        self,
        what: Iterator[list[StoredPoint]],
        send: Callable[[list[StoredPoint]], Awaitable[None]],
    ) -> None:
        """Returns when all have arrived. Raises what the first that fails does; the others are given up."""

        async def when_there_is_room(batch: list[StoredPoint]) -> None:
            async with self._room:
                await send(batch)

        try:
            async with asyncio.TaskGroup() as group:
                for batch in what:
                    group.create_task(when_there_is_room(batch))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed
