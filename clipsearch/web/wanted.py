"""Work that ends with the browser's wish for it: a search that was given up cancels its calls."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from clipsearch.web.errors import WebError

REQUEST_S = 60.0

Result = TypeVar("Result")


class Gone(Exception):
    """The browser has closed the connection; nobody reads the answer."""


async def while_wanted(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Awaits `work`, cancels it when the browser goes, and after a minute. The body must have been read.

    Raises Gone, WebError, and what `work` raises.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        done, _ = await asyncio.wait(
            {working, leaving}, timeout=REQUEST_S, return_when=asyncio.FIRST_COMPLETED
        )
        if working in done:
            return working.result()
        if leaving in done:
            raise Gone
        raise WebError(504, "DEADLINE_EXCEEDED", f"not done within {REQUEST_S:.0f} seconds")
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
