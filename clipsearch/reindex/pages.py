"""Reads a whole collection, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial

from clipsearch.client.aio import AsyncClient
from clipsearch.client.retrying import Retrying
from clipsearch.client.types import Page, StoredPoint


async def pages(
    client: AsyncClient, calls: Retrying, collection: str, size: int, payload: bool = True
) -> AsyncIterator[Sequence[StoredPoint]]:
    """All points of a collection, a page at a time."""
    token = ""
    while True:
        ask = partial(client.list_page, collection, page_token=token, page_size=size, payload=payload)
        page: Page = await calls.make(ask)
        yield page.points
        token = page.next_token
        if not token:
            return
