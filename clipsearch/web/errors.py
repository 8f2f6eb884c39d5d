"""What goes wrong, as the page is told: a status and one JSON object."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from typing import Literal

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from clipsearch.client.errors import ArgumentError, ClipSearchError
from clipsearch.filters.expressions import FilterError

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


@dataclass(eq=False)
class WebError(Exception):
    """A request that is not answered as it was meant to be; `message` is one sentence for people."""

    status: int
    reason: str
    message: str
    _: KW_ONLY
    field: str | None = None
    side: str | None = None
    service: Service | None = None
    retry_after: float | None = None

    def __str__(self) -> str:
        return self.message


def bad(field: str | None, message: str) -> WebError:
    """A request that cannot be understood."""
    return WebError(400, "INVALID_FIELD", message, field=field)


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


@contextmanager
def asking(
    side: str, service: Service, page_field: Callable[[str], str] = lambda field: field
) -> Iterator[None]:
    """Raises what a service or the client says to a request as WebError."""
    try:
        yield
    except ClipSearchError as error:
        raise from_service(error, side, service, page_field) from None
    except (ArgumentError, FilterError) as error:
        raise bad(None, str(error)) from None


def _told(error: ClipSearchError, service: Service) -> tuple[str, str]:
    """Reason and sentence, without gRPC's own words, which may hold addresses.

    And without the field, which stands beside it.
    """
    name = NAMES[service]
    if error.reason == "SERVER_UNREACHABLE":
        for sign, (reason, words) in _SIGNS.items():
            if sign in error.message:
                return reason, f"the {name} cannot be reached: {words}"
        return error.reason, f"the {name} cannot be reached"
    if error.reason == "DEADLINE_EXCEEDED":
        return error.reason, f"the {name} did not answer in time"
    if error.reason:
        return error.reason, error.message.removeprefix(f"{error.field}: ") if error.field else error.message
    if error.code == "UNIMPLEMENTED":
        return error.code, f"what answers at the address of the {name} is another server, or too old a one"
    return error.code, f"the {name} failed ({error.code})"


_CLOSED = (
    "CONNECTION_CLOSED",
    "it closes the connection, as one does that stops, or wants TLS or a certificate",
)
# Why a service cannot be reached, for programs and for people: by what gRPC's prose says, which holds
# addresses and stays here. The first that fits. Tests hold each to gRPC as it is.
_SIGNS = {
    "Connection refused": ("CONNECTION_REFUSED", "nothing listens at its address"),
    "errors resolving": ("NAME_UNKNOWN", "the name in its address is not known"),
    "CERTIFICATE_VERIFY_FAILED": ("TLS_FAILED", "its certificate is not from a CA that is trusted here"),
    "Hostname Verification": ("TLS_FAILED", "its certificate is for another name"),
    "WRONG_VERSION_NUMBER": ("TLS_FAILED", "it is called with TLS and speaks none"),
    "handshake failed": ("TLS_FAILED", "TLS cannot be agreed on with it"),
    "Socket closed": _CLOSED,
    "reset by peer": _CLOSED,
}


def answer(error: WebError) -> Response:
    """The error as it travels."""
    told = {
        "reason": error.reason,
        "message": error.message,
        "field": error.field,
        "side": error.side,
        "service": error.service,
        "retry_after_s": error.retry_after,
    }
    headers = {"retry-after": str(max(1, math.ceil(error.retry_after)))} if error.retry_after else None
    # ASCII: a message may quote what is no valid Unicode.
    return Response(json.dumps({"error": told}), error.status, headers, "application/json")


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
