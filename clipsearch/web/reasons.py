"""Every `reason` that the page's JSON API gives of its own, with its HTTP status and what it means.

What the services refuse keeps their reasons (docs/errors.md). Reasons are stable. A test
compares this list with the code, so that neither has one that the other lacks.
"""

from __future__ import annotations

from typing import NamedTuple


class WebReason(NamedTuple):
    """The HTTP statuses that a reason comes with, and its meaning."""

    statuses: tuple[int, ...]
    meaning: str


WEB_REASONS: dict[str, WebReason] = {
    # Whose request
    "HOST_UNKNOWN": WebReason((403,), "the server is called by a name that it does not go by"),
    "ORIGIN_FOREIGN": WebReason((403,), "another site's page calls"),
    "TOKEN_MISSING": WebReason((401,), "the browser brings no token of the services"),
    # The request
    "NOT_JSON": WebReason((400, 415), "the body is no JSON, or does not say that it is"),
    "INVALID_FIELD": WebReason((400,), "the field's value is not allowed, as the message says"),
    "LENGTH_REQUIRED": WebReason((411,), "a body without Content-Length"),
    "BODY_TOO_LONG": WebReason((400,), "a body longer than its Content-Length"),
    "BODY_TOO_LARGE": WebReason((413,), "a body of more bytes, or more values, than are taken"),
    "BODY_TOO_SLOW": WebReason((408,), "the body did not arrive in time"),
    "METHOD_NOT_ALLOWED": WebReason((405,), "the address is not for this method"),
    "HTTP_ERROR": WebReason((), "another error of HTTP, as the status says"),
    # What there is
    "NOT_FOUND": WebReason((404,), "there is no such address"),
    "SIDE_UNKNOWN": WebReason((404,), "the server was started without this pair of services"),
    "POINT_NOT_FOUND": WebReason((404,), "there is no such point"),
    "PICTURE_NOT_FOUND": WebReason((404,), "the point names no picture that may be shown"),
    "MAP_NOT_FOUND": WebReason((404,), "there is no such map"),
    # Too much, too long
    "TOO_MANY_UPLOADS": WebReason((503,), "as much is being uploaded as is held at once"),
    "TOO_MANY_PICTURES": WebReason((503,), "as many small pictures are being made as may wait"),
    "DEADLINE_EXCEEDED": WebReason((504,), "a service, the disk or the whole request took too long"),
    "INTERNAL": WebReason((500,), "a fault of this server; its log has the trace"),
    # A service that does not answer
    "CONNECTION_REFUSED": WebReason((503,), "nothing listens at the service's address"),
    "NAME_UNKNOWN": WebReason((503,), "the name in the service's address is not known"),
    "TLS_FAILED": WebReason(
        (503,), "TLS cannot be agreed on with the service, or its certificate is refused"
    ),
    "CONNECTION_CLOSED": WebReason((503,), "the service closes the connection: it stops, or wants TLS"),
    "SERVER_UNREACHABLE": WebReason((503,), "the service cannot be reached for another cause"),
}


def markdown_table() -> str:
    """A row for each reason: reason, status, meaning. The table in docs/errors.md is made of it."""
    rows = [
        f"| `{name}` | {', '.join(map(str, reason.statuses)) or 'any'} | {reason.meaning} |"
        for name, reason in WEB_REASONS.items()
    ]
    return "\n".join(["| Reason | Status | Meaning |", "|---|---|---|", *rows]) + "\n"
