"""The encoder's processes, and the loads that are made on them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tests.bench.encoder.calls import Closed, Kind, Load, Loaded, Open, run_load
from tests.bench.machine import busy_seconds
from tests.bench.rig import Rig
from tests.bench.summary import Summary
from tests.processes import ServiceProcess

NO_DEADLINE_S = 120.0
WARM_S = 0.7


@dataclass(frozen=True, slots=True)
class Row:
    """One load on one service. `cores` are those kept busy, on average, over the load."""

    service: str
    kind: Kind
    clients: int | None  # closed loop
    rate: float | None  # open loop, calls a second
    summary: Summary
    service_cores: float
    client_cores: float
    other_cores: float  # of processes that are not part of the benchmark


class EncoderRig(Rig):
    """A rig that knows its encoders by name. `corpus` is the folder of the pictures."""

    def __init__(self, folder: Path, corpus: Path, console: Console) -> None:
        super().__init__(folder, console)
        self.corpus = corpus
        self._services: dict[str, ServiceProcess] = {}
        self._next_call = 0

    def start(self, name: str, **environment: str) -> ServiceProcess:
        """Starts an encoder that lives as long as the rig."""
        self._services[name] = self.start_service("encoder", name, **environment)
        return self._services[name]

    def load(
        self,
        name: str,
        kind: Kind,
        pattern: Closed | Open,
        seconds: float,
        *,
        warm_s: float = WARM_S,
        deadline_s: float = NO_DEADLINE_S,
    ) -> Row:
        """Loads a service from the client's process, with calls that no load before has made."""
        service = self._services[name]
        load = Load(service.address, self.corpus, kind, pattern, self._next_call, deadline_s, warm_s, seconds)
        wall, cpu, busy = time.perf_counter(), service.cpu_seconds(), busy_seconds()
        loaded = self.run("client", run_load, load)
        wall = time.perf_counter() - wall
        cores, all_cores = (service.cpu_seconds() - cpu) / wall, (busy_seconds() - busy) / wall
        self._next_call += loaded.summary.sent
        row = _row(name, kind, pattern, loaded, cores, all_cores)
        self.say(_line(row))
        return row


def _row(
    name: str, kind: Kind, pattern: Closed | Open, loaded: Loaded, cores: float, all_cores: float
) -> Row:
    clients = pattern.clients if isinstance(pattern, Closed) else None
    rate = pattern.rate if isinstance(pattern, Open) else None
    others = max(0.0, all_cores - cores - loaded.client_cores)
    return Row(name, kind, clients, rate, loaded.summary, cores, loaded.client_cores, others)


def _line(row: Row) -> str:
    summary = row.summary
    load = f"{row.clients} clients" if row.clients else f"{summary.offered_per_s:.0f}/s offered"
    errors = "".join(f", {count} {name}" for name, count in summary.errors.items())
    p50, p99 = (f"{value:.0f}" if value is not None else "-" for value in (summary.p50_ms, summary.p99_ms))
    rate = f"{summary.in_time_per_s:.1f}/s, p50 {p50} ms, p99 {p99} ms"
    return f"{row.service}, {row.kind}, {load}: {rate}{errors}"
