"""Why a service cannot be reached, in words. gRPC tells it in prose that holds addresses, which stay here."""

from __future__ import annotations

from typing import NamedTuple

from clipsearch.client.errors import ClipSearchError


class Cause(NamedTuple):
    """A reason for programs, and what people are told after "cannot be reached"."""

    reason: str
    words: str


_CLOSED = Cause(
    "CONNECTION_CLOSED", "it closes the connection, as one does that stops, or wants TLS or a certificate"
)
# By what gRPC's prose says; the first that fits. Tests hold each to gRPC as it is.
_SIGNS = {
    "Connection refused": Cause("CONNECTION_REFUSED", "nothing listens at its address"),
    "errors resolving": Cause("NAME_UNKNOWN", "the name in its address is not known"),
    "CERTIFICATE_VERIFY_FAILED": Cause("TLS_FAILED", "its certificate is not from a CA that is trusted here"),
    "Hostname Verification": Cause("TLS_FAILED", "its certificate is for another name"),
    "WRONG_VERSION_NUMBER": Cause("TLS_FAILED", "it is called with TLS and speaks none"),
    "handshake failed": Cause("TLS_FAILED", "TLS cannot be agreed on with it"),
    "Socket closed": _CLOSED,
    "reset by peer": _CLOSED,
}
_OTHER = Cause("SERVER_UNREACHABLE", "")


def cause(error: ClipSearchError) -> Cause:
    """What stands behind a SERVER_UNREACHABLE."""
    return next((cause for sign, cause in _SIGNS.items() if sign in error.message), _OTHER)
