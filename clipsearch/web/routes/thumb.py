"""GET /thumb: a small image of a stored point. The path is the point's, never the browser's."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from clipsearch.web.clients import Services
from clipsearch.web.errors import WebError, asking, bad
from clipsearch.web.images.images import SIZES, SmallImage
from clipsearch.web.parts import Parts, parts_of, query, while_wanted

_CACHED_S = 300


async def thumb(request: Request) -> Response:
    """image/webp; 404 where the point names no image under a root."""
    web = parts_of(request)
    size = request.query_params.get("size", str(SIZES[0]))
    if size not in map(str, SIZES):
        raise bad("size", f"size: must be one of {', '.join(map(str, SIZES))}")
    token = web.access.token(request)
    small = await while_wanted(request, _small(web, request, token, int(size)))
    headers = {"etag": small.etag, "cache-control": f"private, max-age={_CACHED_S}", "vary": "cookie"}
    if request.headers.get("if-none-match") == small.etag:
        return Response(status_code=304, headers=headers)
    return Response(small.data, headers=headers, media_type="image/webp")


async def _small(web: Parts, request: Request, token: str | None, size: int) -> SmallImage:
    services = web.clients.of(request.query_params.get("side", "a"), token)
    path = await path_of(services, query(request, "collection"), query(request, "id"))
    return await web.images.small(path, size)


async def path_of(services: Services, collection: str, id: str) -> object:
    """What the point's payload holds as `path`. Raises WebError, 404 for a point that is not there."""
    with asking(services.side, "search"):
        points = await services.search.get_points(collection, [id], payload=["path"])
    if not points:
        raise WebError(404, "POINT_NOT_FOUND", "there is no such point", field="id", side=services.side)
    return points[0].payload.get("path")
