"""GET /api/state: what there is to search, and what is down. /session: the browser's token, in and out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from importlib.metadata import version
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from clipsearch.client.errors import ClipSearchError
from clipsearch.client.types import Collection
from clipsearch.web import results
from clipsearch.web.clients import Services
from clipsearch.web.errors import NAMES, Service, WebError, from_service
from clipsearch.web.parts import parts_of, while_wanted
from clipsearch.web.requests import MAX_NAME, TokenAsked, read

VERSION = version("clipsearch")
_WAIT_S = 3.0
_MOST_NAMED = 8
_TAKEN = {"", "COLLECTION_FORBIDDEN", "SCOPE_MISSING", "RATE_LIMITED"}
_REFUSED = {"TOKEN_MISSING", "TOKEN_UNKNOWN", "UNAUTHENTICATED"}

Result = TypeVar("Result")


async def state(request: Request) -> Response:
    """Always 200; of a service that is down it tells reason and message.

    `collection` (repeated) names collections for a token that may not list them.
    """
    web = parts_of(request)
    named = [name[:MAX_NAME] for name in request.query_params.getlist("collection")[:_MOST_NAMED]]
    own = web.access.own(request)
    try:
        token = web.access.token(request)
    except WebError as refused:
        down = {"ok": False, "message": refused.message, "reason": refused.reason}
        unasked: dict[str, Any] = {"search": down, "encoder": {**down, "model": None}, "collections": []}
        sides = dict.fromkeys(web.settings.sides, unasked)
    else:
        looks = [_side(web.clients.of(side, token), named) for side in web.settings.sides]
        sides = dict(
            zip(web.settings.sides, await while_wanted(request, asyncio.gather(*looks)), strict=True)
        )
    of_search = {side["search"]["reason"] for side in sides.values()}
    reasons = of_search | {side["encoder"]["reason"] for side in sides.values()}
    searches = own is not None and bool(_TAKEN & of_search)
    return JSONResponse(
        {
            "version": VERSION,
            # Whether the browser's token is good for something, and whether it should bring another.
            "signed_in": own is not None and bool(_TAKEN & reasons),
            "token_needed": bool(_REFUSED & reasons) and not searches,
            "sides": sides,
            "maps": [{"name": page.name, "url": f"/map/{i}/"} for i, page in enumerate(web.settings.maps)],
        }
    )


async def _side(services: Services, named: Sequence[str]) -> dict[str, Any]:
    (search, collections), (encoder, model) = await asyncio.gather(
        _asked(services, "search", _collections(services, named)),
        _asked(services, "encoder", services.encoder.model()),
    )
    search["ok"] = search["reason"] in ("", "COLLECTION_FORBIDDEN")
    return {
        "search": search,
        "encoder": {**encoder, "model": None if model is None else results.model(model)},
        "collections": [results.collection(found, model) for found in collections or ()],
    }


async def _asked(
    services: Services, service: Service, call: Awaitable[Result]
) -> tuple[dict[str, Any], Result | None]:
    """Whether a service is up, and what it answered."""
    try:
        async with asyncio.timeout(_WAIT_S):
            return {"ok": True, "message": "", "reason": ""}, await call
    except ClipSearchError as error:
        failure = from_service(error, services.side, service)
        return {"ok": False, "message": failure.message, "reason": failure.reason}, None
    except TimeoutError:
        message = f"the {NAMES[service]} did not answer within {_WAIT_S:g} seconds"
        return {"ok": False, "message": message, "reason": "DEADLINE_EXCEEDED"}, None


async def _collections(services: Services, named: Sequence[str]) -> Sequence[Collection]:
    try:
        return await services.search.list_collections()
    except ClipSearchError as error:
        if error.reason != "COLLECTION_FORBIDDEN" or not named:
            raise
    found = await asyncio.gather(*(_collection(services, name) for name in dict.fromkeys(named)))
    return [collection for collection in found if collection is not None]


async def _collection(services: Services, name: str) -> Collection | None:
    try:
        return await services.search.get_collection(name)
    except ClipSearchError as error:
        if error.code in ("NOT_FOUND", "PERMISSION_DENIED", "INVALID_ARGUMENT", "FAILED_PRECONDITION"):
            return None
        raise


async def sign_in(request: Request) -> Response:
    """204, or 401 if the services do not know the token."""
    web = parts_of(request)
    async with web.bodies.read(request) as body:
        asked = read(TokenAsked, body)
    await while_wanted(request, web.access.check_sign_in(asked.token))
    response = Response(status_code=204)
    web.access.sign_in(response, asked.token)
    return response


async def sign_out(request: Request) -> Response:
    """204."""
    response = Response(status_code=204)
    parts_of(request).access.sign_out(response)
    return response
