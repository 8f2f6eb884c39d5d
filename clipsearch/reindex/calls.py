"""Calls that are made again while the service is only busy or away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from itertools import count
from typing import TypeVar

from clipsearch.aio import AsyncClient
from clipsearch.backoff import PASSING, Patience
from clipsearch.errors import ClipSearchError
from clipsearch.results import Page, StoredPoint

Answer = TypeVar("Answer")


async def patiently(patience: Patience, call: Callable[[], Awaitable[Answer]]) -> Answer:
    """Makes a call until it is answered. Raises ClipSearchError when patience ends, or for a wrong call."""
    for attempt in count():
        try:
            answer = await call()
        except ClipSearchError as error:
            if error.code not in PASSING or is_too_large(error):
                raise
            await asyncio.sleep(patience.pause(error, attempt))
        else:
            patience.renew()
            return answer
    raise AssertionError("count() has no end")


async def pages(
    client: AsyncClient, patience: Patience, collection: str, size: int, payload: bool = True
) -> AsyncIterator[Sequence[StoredPoint]]:
    """All points of a collection, a page at a time."""
    token = ""
    while True:
        ask = partial(client.list_page, collection, page_token=token, page_size=size, payload=payload)
        page: Page = await patiently(patience, ask)
        yield page.points
        token = page.next_token
        if not token:
            return


def is_too_large(error: ClipSearchError) -> bool:
    """True for a message that gRPC itself found too large; a full service says when to come back."""
    return error.code == "RESOURCE_EXHAUSTED" and error.retry_after is None and not error.reason
