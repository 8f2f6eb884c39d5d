"""What goes wrong, as the page is told: a status and one JSON object."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from clipsearch.client.errors import ClipSearchError

Service = Literal["search", "encoder"]

_STATUS = {
    "INVALID_ARGUMENT": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "FAILED_PRECONDITION": 409,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
NAMES = {"search": "search service", "encoder": "encoder"}
_BY_STATUS = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}


class WebError(Exception):
    """A request that is not answered as it was meant to be; `message` is one sentence for people."""

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        *,
        field: str | None = None,
        side: str | None = None,
        service: Service | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.field = field
        self.side = side
        self.service = service
        self.retry_after = retry_after


def bad(field: str | None, message: str, reason: str = "INVALID_FIELD") -> WebError:
    """A request that cannot be understood."""
    return WebError(400, reason, message, field=field)


def from_service(
    error: ClipSearchError,
    side: str,
    service: Service,
    page_field: Callable[[str], str] = lambda field: field,
) -> WebError:
    """What a service said. `page_field` turns its name of a field into the page's."""
    if error.reason.startswith("ENCODER_"):
        service = "encoder"
    reason, message = _told(error, service)
    return WebError(
        _STATUS.get(error.code, 502),
        reason,
        message,
        field=page_field(error.field) if error.field else None,
        side=side,
        service=service,
        retry_after=error.retry_after,
    )


def _told(error: ClipSearchError, service: Service) -> tuple[str, str]:
    """Reason and sentence, without gRPC's own words, which may hold addresses.

    And without the field, which stands beside it.
    """
    name = NAMES[service]
    if error.reason == "SERVER_UNREACHABLE":
        reason, words = _cause(error)
        return reason, f"the {name} cannot be reached" + (f": {words}" if words else "")
    if error.reason == "DEADLINE_EXCEEDED":
        return error.reason, f"the {name} did not answer in time"
    if error.reason:
        return error.reason, error.message.removeprefix(f"{error.field}: ") if error.field else error.message
    if error.code == "UNIMPLEMENTED":
        return error.code, f"what answers at the address of the {name} is another server, or too old a one"
    return error.code, f"the {name} failed ({error.code})"


class _Cause(NamedTuple):
    """Why a service cannot be reached: for programs, and for people.

    gRPC's prose holds addresses, which stay here.
    """

    reason: str
    words: str


_CLOSED = _Cause(
    "CONNECTION_CLOSED", "it closes the connection, as one does that stops, or wants TLS or a certificate"
)
# By what gRPC's prose says; the first that fits. Tests hold each to gRPC as it is.
_SIGNS = {
    "Connection refused": _Cause("CONNECTION_REFUSED", "nothing listens at its address"),
    "errors resolving": _Cause("NAME_UNKNOWN", "the name in its address is not known"),
    "CERTIFICATE_VERIFY_FAILED": _Cause(
        "TLS_FAILED", "its certificate is not from a CA that is trusted here"
    ),
    "Hostname Verification": _Cause("TLS_FAILED", "its certificate is for another name"),
    "WRONG_VERSION_NUMBER": _Cause("TLS_FAILED", "it is called with TLS and speaks none"),
    "handshake failed": _Cause("TLS_FAILED", "TLS cannot be agreed on with it"),
    "Socket closed": _CLOSED,
    "reset by peer": _CLOSED,
}
_OTHER = _Cause("SERVER_UNREACHABLE", "")


def _cause(error: ClipSearchError) -> _Cause:
    """What stands behind a SERVER_UNREACHABLE."""
    return next((one for sign, one in _SIGNS.items() if sign in error.message), _OTHER)


def answer(error: WebError) -> Response:
    """The error as it travels."""
    body: dict[str, Any] = {
        "error": {
            "reason": error.reason,
            "message": error.message,
            "field": error.field,
            "side": error.side,
            "service": error.service,
            "retry_after_s": error.retry_after,
        }
    }
    headers = {"retry-after": str(max(1, math.ceil(error.retry_after)))} if error.retry_after else None
    # ASCII: a message may quote what is no valid Unicode.
    return Response(json.dumps(body), error.status, headers, "application/json")


async def on_web_error(_: Request, error: Exception) -> Response:
    """Answers with a WebError that a route raised."""
    assert isinstance(error, WebError)
    return answer(error)


async def on_http_error(_: Request, error: Exception) -> Response:
    """Answers with an error of Starlette's own: no such route, no such method."""
    assert isinstance(error, HTTPException)
    reason = _BY_STATUS.get(error.status_code, "HTTP_ERROR")
    response = answer(WebError(error.status_code, reason, error.detail))
    response.headers.update(error.headers or {})
    return response


async def on_fault(_: Request, error: Exception) -> Response:
    """Answers for a bug; the server's log has its trace."""
    return answer(WebError(500, "INTERNAL", "the web server failed; its log tells why"))
