"""What `lifecycle` is told of a gRPC service that it is to serve, and what a call may be asked to pass."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc

# Returns if the service can do its work, raises if not. Asked once a second; must not block the event loop.
Probe: TypeAlias = Callable[[], Awaitable[None]]
# Asked by the method's name when the headers of a call come. Raises what the call would be refused with if
# its request were here.
Precheck: TypeAlias = Callable[[str], None]
# What a request must pass once it is read; raises a ServiceError.
Check: TypeAlias = Callable[[Any], None]


class StartError(Exception):
    """The service cannot start, or not go on; the message is one line for the operator."""


@dataclass(frozen=True, slots=True)
class Service:
    """A gRPC service: its full proto name, and what adds its servicer to a server.

    `ready` None = ready as soon as it is served; services may share a probe. `unready_after_s` is how long it
    may fail before health says so. `precheck` None = no call is refused before its request is read.
    """

    name: str
    add: Callable[[grpc.aio.Server], None]
    ready: Probe | None = None
    unready_after_s: float = 0.0
    precheck: Precheck | None = None
