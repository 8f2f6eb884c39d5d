"""Which copies a read of points comes from, where several must agree on it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from qdrant_client import models

from clipsearch.serving.errors import DeadlineExceeded, Unavailable

ANY_COPY = 1
# Qdrant needs far less than their sum to tell a node that has come back how it stands.
_AGREE_AFTER_S = (0.05, 0.15, 0.3, 0.5)

Read: TypeAlias = Callable[[Sequence[str], models.ReadConsistency], Awaitable[dict[str, models.Record]]]
"""Reads those of some points, by their UUIDs, that the copies agree on."""


async def agreed(
    read: Read, keys: Sequence[str], consistency: models.ReadConsistency, end: float
) -> list[models.Record]:
    """The points with these UUIDs, in their order; `end`: by when, on the clock `time.monotonic`.

    Copies that do not agree on one answer with nothing: while it is overwritten, where a node that was
    away reads its own copy and has not heard yet that it is behind, or since a write of it failed
    half-way. They are asked again for a second; what they do not agree on then is read from one copy.
    """
    found = await read(keys, consistency)
    missing = [key for key in keys if key not in found]
    if missing and consistency != ANY_COPY:
        doubtful = await read(missing, ANY_COPY)
        for pause in _AGREE_AFTER_S:
            if not doubtful or time.monotonic() + 2 * pause > end:
                break
            await asyncio.sleep(pause)
            try:
                again = await read(list(doubtful), consistency)
            except (Unavailable, DeadlineExceeded):  # there is an answer already
                break
            found |= again
            doubtful = {key: record for key, record in doubtful.items() if key not in again}
        found |= doubtful
    return [found[key] for key in keys if key in found]
