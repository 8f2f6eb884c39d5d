"""GET /api/values: some values of an indexed field, to choose from in a filter."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from clipsearch.filters.paths import values_at
from clipsearch.web.clients import Services
from clipsearch.web.errors import asking, bad
from clipsearch.web.shown import MAX_CHARACTERS
from clipsearch.web.web import query, web_of, while_wanted

MOST_VALUES = 100
MOST_POINTS = 5_000
_PAGE = 1_000
_WAIT_S = 2.0

Value = str | bool | int


async def values(request: Request) -> Response:
    """The most frequent first, of the first points: those come in the order of a hash, a fair sample."""
    web = web_of(request)
    services = web.services(request.query_params.get("side", "a"), web.access.token(request))
    collection, field = query(request, "collection"), query(request, "field")
    with asking(services.side, "search"):
        found = await while_wanted(request, _counted(services, collection, field))
    return JSONResponse(found)


async def _counted(services: Services, collection: str, field: str) -> dict[str, Any]:
    indexes = (await services.search.get_collection(collection)).payload_indexes
    if indexes.get(field) not in ("keyword", "bool", "integer"):
        raise bad("field", f"{field!r} has no keyword, bool or integer index, so its values are not listed")
    # By type too: to Python true and 1 are one key.
    counts: Counter[tuple[str, Value]] = Counter()
    sampled, token, until = 0, "", time.monotonic() + _WAIT_S
    while True:
        page = await services.search.list_page(collection, page_token=token, page_size=_PAGE, payload=[field])
        for point in page.points:
            counts.update(
                {(type(value).__name__, value) for value in values_at(point.payload, field) if _short(value)}
            )
        sampled, token = sampled + len(page.points), page.next_token
        if not token or sampled >= MOST_POINTS or time.monotonic() > until:
            break
    first = sorted(counts.items(), key=lambda item: (-item[1], str(item[0][1])))[:MOST_VALUES]
    return {
        "values": [{"value": value, "count": count} for (_, value), count in first],
        "more": bool(token) or len(counts) > MOST_VALUES,
        "sampled": sampled,
    }


def _short(value: Any) -> bool:
    """Whether a value can be chosen."""
    return isinstance(value, bool | int) or (isinstance(value, str) and len(value) <= MAX_CHARACTERS)
