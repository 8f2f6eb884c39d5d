"""GET /api/values: the values of an indexed field with their counts, to choose from in a filter."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from clipsearch.web.errors import asking
from clipsearch.web.parts import parts_of, query, while_wanted
from clipsearch.web.results import MAX_CHARACTERS

MOST_VALUES = 100


async def values(request: Request) -> Response:
    """The most frequent first."""
    web = parts_of(request)
    services = web.clients.of(request.query_params.get("side", "a"), web.access.token(request))
    collection, field = query(request, "collection"), query(request, "field")
    with asking(services.side, "search", lambda name: "field" if name == "key" else name):
        counted = services.search.facet(collection, field, limit=MOST_VALUES + 1)
        hits = await while_wanted(request, counted)
    can_be_chosen = [
        {"value": hit.value, "count": hit.count}
        for hit in hits[:MOST_VALUES]
        if not isinstance(hit.value, str) or len(hit.value) <= MAX_CHARACTERS
    ]
    return JSONResponse({"values": can_be_chosen, "more": len(hits) > MOST_VALUES})
