"""Every reason that the gateway gives of its own, by HTTP status; those of the services pass through it."""

from __future__ import annotations

from typing import NamedTuple


class GatewayReason(NamedTuple):
    """The reason and its meaning."""

    reason: str
    meaning: str


OTHER = GatewayReason("HTTP_ERROR", "another error of HTTP, as the status says")

GATEWAY_REASONS: dict[int, GatewayReason] = {
    400: GatewayReason("REQUEST_NOT_DECODABLE", "the request is no JSON, or not that of the call"),
    403: GatewayReason("ORIGIN_FOREIGN", "another site's page calls"),
    404: GatewayReason("NOT_FOUND", "there is no such address, or not for this method"),
    408: GatewayReason("BODY_TOO_SLOW", "the request did not arrive in time"),
    413: GatewayReason("BODY_TOO_LARGE", "a body, or an answer, of more bytes than are taken"),
    431: GatewayReason("HEADERS_TOO_LARGE", "the headers are too large or too many"),
    503: GatewayReason("SERVICE_UNAVAILABLE", "no replica of the service is ready, or the gateway is full"),
    504: GatewayReason("DEADLINE_EXCEEDED", "the service did not answer in time"),
}
