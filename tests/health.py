"""What services say of themselves while something fails, and how calls end meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clipsearch import ClipSearchError

SERVING, NOT_SERVING = "SERVING", "NOT_SERVING"
SEARCH, COLLECTIONS = "clipsearch.search.v1.SearchService", "clipsearch.search.v1.CollectionService"
# With the probes a second apart and an answer awaited for 1.5 s: until a frozen dependency is known as such.
KNOWN_S = 4.0
FAST_S = 1.0  # what "at once" may take on a busy machine; deadlines here are 20 s
BACK_S = 5.0


class Health:
    """What a service says of itself."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)
        self._stub = health_pb2_grpc.HealthStub(self._channel)

    def of(self, name: str = "") -> str:
        answer = self._stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)

    def all(self) -> tuple[str, str, str, str]:
        """Overall, searches, collections, liveness."""
        return self.of(), self.of(SEARCH), self.of(COLLECTIONS), self.of("liveness")

    def becomes(self, wanted: str, name: str = "", within_s: float = BACK_S) -> float:
        """Waits for a status; returns the seconds that it took."""
        begun = time.monotonic()
        while self.of(name) != wanted:
            assert time.monotonic() - begun < within_s, f"{name!r} is not {wanted} after {within_s} s"
            time.sleep(0.02)
        return time.monotonic() - begun

    def close(self) -> None:
        self._channel.close()


def failure(call: Callable[[], Any]) -> tuple[ClipSearchError, float]:
    """The error of a call that must fail, and the seconds it took to."""
    begun = time.monotonic()
    with pytest.raises(ClipSearchError) as caught:
        call()
    return caught.value, time.monotonic() - begun


def until_refused_fast(call: Callable[[], Any], within_s: float = KNOWN_S) -> ClipSearchError:
    """Makes a call until it fails at once with UNAVAILABLE; returns the error."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        begun = time.monotonic()
        try:
            call()
        except ClipSearchError as error:
            if error.code == "UNAVAILABLE" and time.monotonic() - begun < FAST_S:
                return error
        time.sleep(0.05)
    raise AssertionError(f"calls are not refused at once after {within_s} s")
