"""Makes calls from greenlets and records them, each counted from the moment it was due.

For Locust's processes only: gRPC must have been told of gevent before a channel is made.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import gevent
import grpc

from clipsearch.channel import connection
from clipsearch.channel.credentials import bearer
from clipsearch.cli.shared.access import access
from clipsearch.search.v1 import search_pb2_grpc
from tests.load.recording import Row
from tests.load.scenarios import Scenario, parts_ms, problem

# Unix time that no clock adjustment moves while a load runs.
_WALL = time.time() - time.perf_counter()

# Hears of each call: scenario, milliseconds, the error or None.
Told = Callable[[Scenario, float, Exception | None], None]


def now() -> float:
    """Unix seconds."""
    return _WALL + time.perf_counter()


class Sender:
    """Calls the search service. `rows` are the calls that were answered and not taken yet."""

    def __init__(self, address: str, deadline_s: float, told: Told, first_number: int) -> None:
        """Raises CredentialsError."""
        shown = access()
        self._metadata = bearer(shown["token"])
        self._stub = search_pb2_grpc.SearchServiceStub(connection.channel(address, shown["tls"]))
        self._deadline_s = deadline_s
        self._told = told
        self._numbers = itertools.count(first_number)
        self.rows: list[Row] = []

    def take(self) -> list[Row]:
        """The rows so far, which are gone from here then."""
        rows, self.rows = self.rows, []
        return rows

    def send(self, scenario: Scenario, due: float) -> None:
        """One call, with what is left until its deadline; records it. Waits for its answer."""
        outcome, parts = "OK", {}
        error: Exception | None = None
        try:
            response = self._call(scenario, due + self._deadline_s - now())
            parts, outcome = parts_ms(response), problem(response) or "OK"
        except grpc.RpcError as failed:
            outcome, error = failed.code().name, failed
        latency_ms = (now() - due) * 1000
        self.rows.append((scenario.name, due, latency_ms, outcome, parts))
        if outcome != "OK" and error is None:
            error = ValueError(outcome)
        self._told(scenario, latency_ms, error)

    def capacity(self, scenario: Scenario, clients: int, seconds: float) -> float:
        """Calls a second that are answered in time in a closed loop; they are not recorded."""
        end, answered = now() + seconds, 0

        def client() -> None:
            nonlocal answered
            while now() < end:
                try:
                    self._call(scenario, self._deadline_s)
                    answered += now() < end
                except grpc.RpcError:
                    gevent.sleep(0.05)  # as a client that was refused

        gevent.joinall([gevent.spawn(client) for _ in range(clients)])
        return answered / seconds

    def _call(self, scenario: Scenario, left_s: float) -> Any:
        # A future, not the blocking call: that would hold one of gevent's ten threads until the answer.
        method = getattr(self._stub, scenario.method)
        request = scenario.build(next(self._numbers))
        return method.future(request, timeout=max(0.001, left_s), metadata=self._metadata).result()
