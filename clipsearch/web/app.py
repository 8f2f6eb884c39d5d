"""The application: routes, errors, and what is opened at start and closed at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Scope

from clipsearch.web.access import Access
from clipsearch.web.bodies import Bodies
from clipsearch.web.clients import Clients
from clipsearch.web.errors import WebError, on_fault, on_http_error, on_web_error
from clipsearch.web.guard import Guard
from clipsearch.web.images.images import Images
from clipsearch.web.images.roots import Roots
from clipsearch.web.parts import Gone, Parts
from clipsearch.web.routes.classify import classify
from clipsearch.web.routes.maps import map_page
from clipsearch.web.routes.search import search
from clipsearch.web.routes.state import sign_in, sign_out, state
from clipsearch.web.routes.thumb import thumb
from clipsearch.web.routes.values import values
from clipsearch.web.settings import WebSettings

STATIC = Path(__file__).parent / "static"
_GONE = 499


def create_app(settings: WebSettings, on_ready: Callable[[], None] = lambda: None) -> ASGIApp:
    """The server as an ASGI application; `on_ready` is called once it can answer.

    Raises OSError for a root that is no folder.
    """
    roots = Roots(settings.roots)

    @asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        clients = Clients(settings)
        images = Images(roots)
        app.state.web = Parts(settings, clients, Access(settings, clients), Bodies(), images)
        on_ready()
        try:
            yield
        finally:
            images.close()
            await clients.close()

    files = _Static(directory=STATIC)
    app = Starlette(
        routes=[
            Route("/", files.index, methods=["GET"]),
            Mount("/static", files),
            Route("/api/state", state, methods=["GET"]),
            Route("/api/search", search, methods=["POST"]),
            Route("/api/classify", classify, methods=["POST"]),
            Route("/api/values", values, methods=["GET"]),
            Route("/session", sign_in, methods=["POST"]),
            Route("/session", sign_out, methods=["DELETE"]),
            Route("/thumb", thumb, methods=["GET"]),
            Route("/map/{number:int}/", map_page, methods=["GET"]),
        ],
        exception_handlers={
            WebError: on_web_error,
            HTTPException: on_http_error,
            Gone: _on_gone,
            ClientDisconnect: _on_gone,
            Exception: on_fault,
        },
        lifespan=life,
    )
    return Guard(app, settings.hosts if settings.local else None)


class _Static(StaticFiles):
    """The page's files; a browser asks each time whether they have changed."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["cache-control"] = "no-cache"
        return response

    async def index(self, request: Request) -> Response:
        return await self.get_response("index.html", request.scope)


async def _on_gone(_: Request, error: Exception) -> Response:
    return Response(status_code=_GONE)
