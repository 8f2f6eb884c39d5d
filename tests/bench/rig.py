"""The processes of a run: services, and workers that load them or stand beside them as baselines."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from rich.console import Console

from tests.processes import ServiceProcess

P = ParamSpec("P")
T = TypeVar("T")

# No step takes this long; one that does hangs, and the run ends with an error.
STEP_SECONDS = 180.0


class Rig:
    """Starts processes as they are asked for and ends all of them; prints a line for each step."""

    def __init__(self, folder: Path, console: Console) -> None:
        self._logs = folder / "logs"
        self._console = console
        self._stack = ExitStack()
        self._workers: dict[str, ProcessPoolExecutor] = {}
        self._begun = time.perf_counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:  # do not wait for what a worker is at
            for worker in multiprocessing.active_children():
                worker.kill()
        self._stack.close()

    def say(self, text: str) -> None:
        """A line of progress, with the seconds since the start."""
        self._console.print(
            f"[dim]{time.perf_counter() - self._begun:5.0f} s[/]  {text}", highlight=False, soft_wrap=True
        )

    def new_service(self, kind: str, **environment: str) -> ServiceProcess:
        """A service that the caller starts and ends."""
        return ServiceProcess(kind, self._logs, **environment)

    def start_service(self, kind: str, name: str, **environment: str) -> ServiceProcess:
        """Starts a service that lives as long as the rig. `name` stands in the line of progress."""
        service = self._stack.enter_context(self.new_service(kind, **environment))
        self.say(f"{name}: serving after {service.seconds_to_serving:.2f} s")
        return service

    def run(self, worker: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls a function in the process of this name, which keeps what it has loaded."""
        return self.submit(worker, function, *args, **kwargs).result(STEP_SECONDS)

    def submit(self, worker: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Begins such a call; the caller bounds how long it waits for the result."""
        if worker not in self._workers:
            # Spawned, not forked: a fork of a process that has used gRPC or a thread pool may hang.
            context = multiprocessing.get_context("spawn")
            self._workers[worker] = self._stack.enter_context(ProcessPoolExecutor(1, mp_context=context))
        return self._workers[worker].submit(function, *args, **kwargs)
