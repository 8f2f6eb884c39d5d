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
from clipsearch.web.errors import bad
from clipsearch.web.images.images import Images
from clipsearch.web.requests import MAX_NAME
from clipsearch.web.settings import WebSettings

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
    """Awaits `work`, and cancels it when the browser goes. The body must have been read.

    Raises Gone, and what `work` raises: calls and images have limits of their own.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise Gone
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
