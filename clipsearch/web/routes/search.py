"""POST /api/search."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from clipsearch.client.inputs import SearchOptions
from clipsearch.client.types import Group
from clipsearch.web import results
from clipsearch.web.errors import asking
from clipsearch.web.parts import Parts, parts_of, while_wanted
from clipsearch.web.requests import PageFilter, SearchAsked, read


async def search(request: Request) -> Response:
    """The hits for weighted terms. The search ends when the browser goes."""
    web = parts_of(request)
    async with web.bodies.read(request) as body:
        asked = await asyncio.to_thread(read, SearchAsked, body)
        del body
        token = web.access.token(request)
        return await while_wanted(request, _answered(web, asked, token))


async def _answered(web: Parts, asked: SearchAsked, token: str | None) -> Response:
    started = time.perf_counter()
    filter = PageFilter(asked.filter, asked.time_zone)
    services = web.clients.of(asked.side, token)
    options: SearchOptions = {
        "query": [term.term() for term in asked.terms],
        "target": asked.target,
        "only_matches": asked.only_matches,
        "hybrid": asked.hybrid,
        "filter": filter.json,
        "limit": asked.limit,
        "offset": asked.offset,
    }

    def page_field(field: str) -> str:
        field = field.removeprefix("search.")
        return re.sub(r"^query\[", "terms[", filter.page_field(field))

    groups: list[Group] | None = None
    with asking(services.side, "search", page_field):
        if asked.group_by is None:
            options["limit"] += 1  # which tells whether there are more
            result = await services.search.search(asked.collection, **options)
        else:
            found = await services.search.search_groups(asked.collection, group_by=asked.group_by, **options)
            groups = list(found)
            result = replace(found.search, hits=tuple(hit for group in groups for hit in group.hits))
    with_images = await web.images.shown([results.path_of(hit) for hit in result])

    def answer() -> Response:
        hits = results.hits(
            result,
            side=asked.side,
            collection=asked.collection,
            limit=asked.limit,
            with_images=with_images,
            groups=groups,
        )
        total = (time.perf_counter() - started) * 1000
        took = {"encode": result.encode_ms, "store": result.store_ms, "total": total}
        return JSONResponse({**hits, "took_ms": {name: results.number(ms) for name, ms in took.items()}})

    return await asyncio.to_thread(answer)  # a hundred large payloads would hold up the loop
