"""What every route works with, made once at start."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar, cast

from starlette.requests import Request

from clipsearch.web.access import Access
from clipsearch.web.bodies import Bodies
from clipsearch.web.clients import Clients
from clipsearch.web.errors import WebError, bad
from clipsearch.web.images.images import Images
from clipsearch.web.requests import MAX_NAME
from clipsearch.web.settings import WebSettings

REQUEST_S = 60.0

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of the server."""

    settings: WebSettings
    clients: Clients
    access: Access
    bodies: Bodies
    images: Images


def parts_of(request: Request) -> Parts:
    """The parts of the server that a request came to."""
    return cast(Parts, request.app.state.web)


def query(request: Request, name: str) -> str:
    """A parameter of the address. Raises WebError where it is missing, empty or too long."""
    value = request.query_params.get(name)
    if not value:
        raise bad(name, f"{name}: is missing")
    if len(value) > MAX_NAME:
        raise bad(name, f"{name}: has {len(value)} characters, the limit is {MAX_NAME}")
    return value


class Gone(Exception):
    """The browser has closed the connection; nobody reads the answer."""


async def while_wanted(request: Request, work: Awaitable[Result]) -> Result:
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
