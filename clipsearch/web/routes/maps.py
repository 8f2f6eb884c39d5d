"""GET /map/N/: the pages that `clipsearch map` has written, each in a sandbox of its own."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from clipsearch.web.errors import WebError
from clipsearch.web.parts import parts_of
from clipsearch.web.settings import MapPage

# The page brings its scripts and a policy of its own, by their hashes. Here it is kept from this origin:
# it may run them, but calls nothing. A sandboxed page with an opener policy is refused by browsers.
_HEADERS = {
    "content-security-policy": (
        "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; "
        "style-src 'unsafe-inline'; img-src data: blob:; frame-ancestors 'self'"
    ),
    "cross-origin-opener-policy": "unsafe-none",
    "cache-control": "private, no-cache",
}


async def map_page(request: Request) -> Response:
    """The page of map N."""
    web = parts_of(request)
    await web.access.check_request(request)
    number = request.path_params["number"]
    if number >= len(web.settings.maps):
        raise WebError(404, "MAP_NOT_FOUND", f"there is no map {number}")
    path = web.settings.maps[number].path
    if not await asyncio.to_thread(path.is_file):
        raise WebError(404, "MAP_NOT_FOUND", "the map's page is not there any more")
    return FileResponse(path, headers=_HEADERS, media_type="text/html")


def map_page_in(folder: Path) -> MapPage | None:
    """The map in a folder, named by the collection that its numbers tell; None if there is no page."""
    path = folder / "map.html"
    if not path.is_file():
        return None
    try:
        name = json.loads((folder / "map.json").read_text(encoding="utf-8"))["collection"]
    except (OSError, ValueError, KeyError, TypeError):
        name = None
    return MapPage(name if isinstance(name, str) else folder.resolve().name, path)
