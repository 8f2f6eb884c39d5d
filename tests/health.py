"""What services say of themselves while something fails, and how calls end meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clipsearch import ClipSearchError
from tests.waiting import HANGS_S, wait_until

SERVING, NOT_SERVING = "SERVING", "NOT_SERVING"
SEARCH, COLLECTIONS = "clipsearch.search.v1.SearchService", "clipsearch.search.v1.CollectionService"


class Health:
    """What a service says of itself."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)
        self._stub = health_pb2_grpc.HealthStub(self._channel)

    def of(self, name: str = "") -> str:
        asked = health_pb2.HealthCheckRequest(service=name)
        answer = self._stub.Check(asked, timeout=HANGS_S)  # type: ignore[attr-defined]
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)

    def all(self) -> tuple[str, str, str, str]:
        """Overall, searches, collections, liveness."""
        return self.of(), self.of(SEARCH), self.of(COLLECTIONS), self.of("liveness")

    def becomes(self, wanted: str, name: str = "") -> None:
        """Waits for a status."""
        wait_until(lambda: self.of(name) == wanted)

    def close(self) -> None:
        self._channel.close()


def failure(call: Callable[[], Any]) -> ClipSearchError:
    """The error of a call that must fail."""
    with pytest.raises(ClipSearchError) as caught:
        call()
    return caught.value
