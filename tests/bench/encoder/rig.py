"""The processes of a run: the services, the client that loads them, and the baselines."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from rich.console import Console

from tests.bench.encoder.calls import Closed, Kind, Load, Loaded, Open, run_load
from tests.bench.machine import busy_seconds
from tests.bench.processes import ServiceProcess
from tests.bench.summary import Summary

P = ParamSpec("P")
T = TypeVar("T")

# No step takes this long; one that does hangs, and the run ends with an error.
STEP_SECONDS = 180.0
NO_DEADLINE_S = 120.0
WARM_S = 0.7
# From here on what else the machine does is worth telling.
BUSY_CORES = 0.1


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


class Rig:
    """Starts processes as they are asked for and ends all of them; prints a line for each step."""

    def __init__(self, folder: Path, corpus: Path, console: Console) -> None:
        self.corpus = corpus
        self._logs = folder / "logs"
        self._console = console
        self._stack = ExitStack()
        self._services: dict[str, ServiceProcess] = {}
        self._workers: dict[str, ProcessPoolExecutor] = {}
        self._next_call = 0
        self._begun = time.perf_counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def say(self, text: str) -> None:
        """A line of progress, with the seconds since the start."""
        self._console.print(f"[dim]{time.perf_counter() - self._begun:5.0f} s[/]  {text}", highlight=False)

    def new_service(self, **environment: str) -> ServiceProcess:
        """An encoder that the caller starts and ends."""
        return ServiceProcess("encoder", self._logs, **environment)

    def start(self, name: str, **environment: str) -> ServiceProcess:
        """Starts an encoder that lives as long as the rig."""
        service = self._stack.enter_context(self.new_service(**environment))
        self._services[name] = service
        self.say(f"{name}: serving after {service.seconds_to_serving:.2f} s")
        return service

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

    def run(self, worker: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls a function in the process of this name, which keeps what it has loaded."""
        if worker not in self._workers:
            # Spawned, not forked: a fork of a process that has used gRPC or a thread pool may hang.
            context = multiprocessing.get_context("spawn")
            self._workers[worker] = self._stack.enter_context(ProcessPoolExecutor(1, mp_context=context))
        return self._workers[worker].submit(function, *args, **kwargs).result(STEP_SECONDS)


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
