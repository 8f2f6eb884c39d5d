"""POST /api/classify: which label fits an image best."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from clipsearch.client.types import Classification
from clipsearch.web import results
from clipsearch.web.errors import WebError, asking, bad, from_service
from clipsearch.web.parts import Parts, parts_of, while_wanted
from clipsearch.web.requests import ClassifyAsked, read
from clipsearch.web.routes.thumb import path_of


async def classify(request: Request) -> Response:
    """Labels with their probability and cosine, best first."""
    web = parts_of(request)
    async with web.bodies.read(request) as body:
        asked = await asyncio.to_thread(read, ClassifyAsked, body)
        del body
        token = web.access.token(request)
        result = await while_wanted(request, _classified(web, asked, token))
    return JSONResponse(results.classification(result))


async def _classified(web: Parts, asked: ClassifyAsked, token: str | None) -> Classification:
    services = web.clients.of(asked.side, token)
    image = asked.image
    if asked.point is not None:
        path = await path_of(services, asked.point.collection, asked.point.id)
        try:
            image = await web.images.whole(path)
        except WebError as error:
            if error.status != 404:
                raise
            raise bad("point", "this point's image does not lie in a folder that is served here") from None
    assert image is not None
    with asking(asked.side, "encoder", _page_field):
        (result,) = await services.encoder.classify([image], asked.labels, prompt_template=asked.template)
    if result.error is not None:
        raise from_service(result.error, asked.side, "encoder", _page_field)
    return result


def _page_field(field: str) -> str:
    return {"prompt_template": "template", "images[0]": "image", "images": "image"}.get(field, field)
