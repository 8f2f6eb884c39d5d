"""Service processes as an operator starts them, and what the kernel says about them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

START_SECONDS = 120.0
STOP_SECONDS = 30.0


class ServiceProcess:
    """`clipsearch serve KIND` in a process of its own; a context manager that ends it.

    `module` is run in its place where something stands in for the service.
    """

    def __init__(self, kind: str, folder: Path, module: str | None = None, **environment: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._kind = kind
        self._arguments = ["clipsearch.cli", "serve", kind] if module is None else [module]
        self._log = folder / f"{kind}-{os.urandom(3).hex()}.log"
        self._port_file = self._log.with_suffix(".port")
        self._environment = environment
        self._process: subprocess.Popen[bytes]
        self.address = ""
        self.seconds_to_serving = 0.0

    def __enter__(self) -> Self:
        begun = time.perf_counter()
        prefix = self._kind.upper()
        told = {f"{prefix}_PORT": "0", f"{prefix}_PORT_FILE": str(self._port_file)}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self._arguments],
                env={**_own_environment(), **self._environment, **told},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self._await_serving(begun)
        except BaseException:
            self._end()
            raise
        self.seconds_to_serving = time.perf_counter() - begun
        self.address = self._port_file.read_text().strip()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def log(self) -> str:
        """All that the service has logged."""
        return self._log.read_text(errors="replace")

    def log_tail(self, lines: int = 20) -> str:
        """The last lines that the service logged."""
        return "\n".join(self.log().splitlines()[-lines:])

    def metrics_address(self) -> str:
        """Where it serves its metrics (host:port), if it was started with a metrics port."""
        for line in self._log.read_text(errors="replace").splitlines():
            if line.startswith("{") and (entry := json.loads(line))["event"] == "metrics are served":
                return str(entry["address"])
        raise LookupError(f"{self._kind} serves no metrics")

    def rss_mb(self) -> float:
        """Memory resident now, in MB (10**6 bytes)."""
        return self._status_mb("VmRSS")

    def peak_rss_mb(self) -> float:
        """The most memory that was ever resident, in MB."""
        return self._status_mb("VmHWM")

    def cpu_seconds(self) -> float:
        """CPU time used so far: by the service and its children, also those that have ended."""
        return sum(_cpu_seconds(pid) for pid in _family(self._process.pid))

    def own_cpu_seconds(self) -> float:
        """CPU time used so far by the service's first process alone, and by children that have ended."""
        return _cpu_seconds(self._process.pid)

    def _status_mb(self, field: str) -> float:
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == field:
                return int(value.split()[0]) * 1024 / 1e6
        raise LookupError(f"/proc/{self._process.pid}/status has no {field}")

    def _await_serving(self, begun: float) -> None:
        while not self._port_file.exists():
            if self._process.poll() is not None:
                raise RuntimeError(f"{self._kind} exited with {self._process.returncode}:\n{self.log_tail()}")
            if time.perf_counter() - begun > START_SECONDS:
                raise RuntimeError(f"{self._kind} does not serve after {START_SECONDS} s:\n{self.log_tail()}")
            time.sleep(0.005)

    def _end(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _own_environment() -> dict[str, str]:
    """Without the caller's own settings of the services: the benchmark sets what it means to measure."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("ENCODER_", "SEARCH_"))}


def _family(pid: int) -> Iterator[int]:
    """The process and all that it has started and that run still."""
    yield pid
    try:
        lists = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except (FileNotFoundError, ProcessLookupError):  # it ends just now
        return
    for child in " ".join(lists).split():
        yield from _family(int(child))


def _cpu_seconds(pid: int) -> float:
    """CPU time of all threads of a process, and of those of its children that have ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    # Fields are counted after the command's name, which may hold spaces: state is the first.
    fields = stat.rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
