"""POST /api/search."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractContextManager
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from clipsearch.client.inputs import SearchOptions
from clipsearch.client.types import Group, SearchResult
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
    services = web.services(asked.side, token)
    groups: list[Group] | None = None
    if asked.group_by is None:
        result = await _search(services, asked, filter)
    else:
        groups, result = await _grouped(services, asked, filter, asked.group_by)
    with_images = await web.images.shown([shown.path_of(hit) for hit in result])

    def answer() -> Response:
        found = shown.hits(
            result,
            side=asked.side,
            collection=asked.collection,
            limit=asked.limit,
            with_images=with_images,
            groups=groups,
        )
        total = (time.perf_counter() - started) * 1000
        took = {"encode": result.encode_ms, "store": result.store_ms, "total": total}
        return JSONResponse({**found, "took_ms": {name: shown.number(ms) for name, ms in took.items()}})

    return await asyncio.to_thread(answer)  # a hundred large payloads would hold up the loop


async def _search(services: Services, asked: SearchAsked, filter: PageFilter) -> SearchResult:
    with _asking(services, filter):
        return await services.search.search(asked.collection, **_options(asked, filter, asked.limit + 1))


async def _grouped(
    services: Services, asked: SearchAsked, filter: PageFilter, group_by: str
) -> tuple[list[Group], SearchResult]:
    """The groups, and their hits one after another."""
    with _asking(services, filter):
        found = await services.search.search_groups(
            asked.collection, group_by=group_by, **_options(asked, filter, asked.limit)
        )
    hits = tuple(hit for group in found for hit in group.hits)
    return list(found), replace(found.search, hits=hits)


def _options(asked: SearchAsked, filter: PageFilter, limit: int) -> SearchOptions:
    return {
        "query": [term.term() for term in asked.terms],
        "target": asked.target,
        "only_matches": asked.only_matches,
        "hybrid": asked.hybrid,
        "filter": filter.json,
        "limit": limit,
        "offset": asked.offset,
        "score_threshold": asked.score_threshold,
    }


def _asking(services: Services, filter: PageFilter) -> AbstractContextManager[None]:
    def page_field(field: str) -> str:
        field = field.removeprefix("search.")
        if field.startswith("query["):
            return field.replace("query[", "terms[", 1)
        return filter.page_field(field)

    return asking(services.side, "search", page_field)
