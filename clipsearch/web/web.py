"""What every route works with, made once at start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from starlette.requests import Request

from clipsearch.web.access import Access
from clipsearch.web.asked import MAX_NAME
from clipsearch.web.bodies import Bodies
from clipsearch.web.clients import Clients
from clipsearch.web.errors import WebError, bad
from clipsearch.web.images.images import Pictures
from clipsearch.web.settings import WebSettings


@dataclass(frozen=True, slots=True)
class Web:
    """The parts of the server."""

    settings: WebSettings
    clients: Clients
    access: Access
    bodies: Bodies
    pictures: Pictures

    def known_side(self, side: str) -> str:
        """The side's name again. Raises WebError for one that was not given at start."""
        if side not in self.settings.sides:
            raise WebError(404, "SIDE_UNKNOWN", f"there is no side {side!r}", field="side")
        return side


def web_of(request: Request) -> Web:
    """The parts of the server that a request came to."""
    return cast(Web, request.app.state.web)


def query(request: Request, name: str) -> str:
    """A parameter of the address. Raises WebError where it is missing, empty or too long."""
    value = request.query_params.get(name)
    if not value:
        raise bad(name, f"{name}: is missing")
    if len(value) > MAX_NAME:
        raise bad(name, f"{name}: has {len(value)} characters, the limit is {MAX_NAME}")
    return value
