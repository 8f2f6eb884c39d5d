"""POST and DELETE /session: a browser's token, into its cookie and out of it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from clipsearch.web.requests import TokenAsked, read
from clipsearch.web.web import web_of, while_wanted


async def sign_in(request: Request) -> Response:
    """204, or 401 if the services do not know the token."""
    web = web_of(request)
    async with web.bodies.read(request) as body:
        asked = read(TokenAsked, body)
    await while_wanted(request, web.access.check_sign_in(asked.token))
    response = Response(status_code=204)
    web.access.sign_in(response, asked.token)
    return response


async def sign_out(request: Request) -> Response:
    """204."""
    response = Response(status_code=204)
    web_of(request).access.sign_out(response)
    return response
