"""POST /api/search."""

from __future__ import annotations

import asyncio
import time

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from clipsearch.client.types import SearchResult
from clipsearch.web import shown
from clipsearch.web.clients import Services
from clipsearch.web.errors import asking
from clipsearch.web.requests import PageFilter, SearchAsked, read
from clipsearch.web.web import Web, web_of, while_wanted


async def search(request: Request) -> Response:
    """The hits for weighted terms. The search ends when the browser goes."""
    web = web_of(request)
    async with web.bodies.read(request) as body:
        asked = await asyncio.to_thread(read, SearchAsked, body)
        del body
        token = web.access.token(request)
        return await while_wanted(request, _answered(web, asked, token))


async def _answered(web: Web, asked: SearchAsked, token: str | None) -> Response:
    started = time.perf_counter()
    filter = PageFilter(asked.filter, asked.time_zone)
    result = await _search(web.services(asked.side, token), asked, filter)
    with_images = await web.images.shown([shown.path_of(hit) for hit in result])

    def answer() -> Response:
        found = shown.hits(
            result,
            side=asked.side,
            collection=asked.collection,
            limit=asked.limit,
            with_images=with_images,
        )
        total = (time.perf_counter() - started) * 1000
        took = {"encode": result.encode_ms, "store": result.store_ms, "total": total}
        return JSONResponse({**found, "took_ms": {name: shown.number(ms) for name, ms in took.items()}})

    return await asyncio.to_thread(answer)  # a hundred large payloads would hold up the loop


async def _search(services: Services, asked: SearchAsked, filter: PageFilter) -> SearchResult:
    def page_field(field: str) -> str:
        if field.startswith("query["):
            return field.replace("query[", "terms[", 1).replace("].image", "].picture", 1)
        return filter.page_field(field)

    with asking(services.side, "search", page_field):
        return await services.search.search(
            asked.collection,
            query=[term.term() for term in asked.terms],
            target=asked.target,
            filter=filter.json,
            limit=asked.limit + 1,
            offset=asked.offset,
            score_threshold=asked.score_threshold,
        )
