"""Starts the project's programs for tests and tools, waits until they serve, and ends them; nobody else does.

What the caller's environment says of the services, of clients or of a Qdrant server never reaches them.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

START_SECONDS = 120.0
STOP_SECONDS = 40.0
# Measuring its best batches takes an encoder as long as all else at its start; threads of many encoders
# that wait for one another take the cores that they wait for.
SMALL_ENCODER = {"ENCODER_MAX_BATCH": "8", "ENCODER_MAX_BATCH_TOKENS": "1024", "ENCODER_THREADS": "1"}
OURS = ("CLIPSEARCH_", "ENCODER_", "QDRANT_", "SEARCH_", "MAKE", "MFLAGS")


def environment(**settings: str) -> dict[str, str]:
    """The caller's environment without settings of this project, and with `settings`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return {**kept, **settings}


def cli(*arguments: str) -> list[str]:
    """The command line of `clipsearch` in this interpreter."""
    return [sys.executable, "-m", "clipsearch.cli", *arguments]


def clipsearch(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs a command of `clipsearch` to its end, which is at most two minutes away."""
    return subprocess.run(
        cli(*arguments), env=environment(**settings), capture_output=True, text=True, timeout=120, check=False
    )


def clipsearch_here(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """The same in this process: a new one takes seconds of CPU time to load what draws or measures."""
    from typer.testing import CliRunner

    from clipsearch.cli import app

    done = CliRunner().invoke(app, arguments, env=settings, catch_exceptions=False)
    return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)


class Program:
    """A program in a process of its own, with its log; as a context manager it is started and ended.

    It is told the port and `port_file` by the flags --port and --port-file, or by PREFIX_PORT and
    PREFIX_PORT_FILE, and writes host:port to the file once it serves. `settings` are added to the caller's
    environment, or to `bare` in its place.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        command: Sequence[str],
        settings: Mapping[str, str] | None = None,
        prefix: str | None = None,
        bare: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.kind = name
        self.command = list(command)
        self.environment = dict(settings or {})
        self.log = folder / f"{name}-{os.urandom(3).hex()}.log"
        self.port_file = self.log.with_suffix(".port")
        self.address = ""
        self.seconds_to_serving = 0.0
        self._prefix = prefix
        self._bare = bare
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None

    def launch(self, port: int = 0) -> subprocess.Popen[bytes]:
        """Starts the process without waiting for it."""
        self.port_file.unlink(missing_ok=True)
        told = {"port": str(port), "port_file": str(self.port_file)}
        flags: list[str] = []
        variables: dict[str, str] = {}
        if self._prefix is None:
            flags = ["--port", told["port"], "--port-file", told["port_file"]]
        else:
            variables = {f"{self._prefix}_{name.upper()}": value for name, value in told.items()}
        given = environment() if self._bare is None else self._bare
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.command, *flags],
                env={**given, **self.environment, **variables},
                cwd=self._cwd,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self._process

    def start(self, port: int = 0) -> Self:
        """Starts the process and waits until it serves; RuntimeError if it does not."""
        begun = time.perf_counter()
        process = self.launch(port)
        try:
            while not (self.port_file.exists() and self.port_file.read_text()):
                if process.poll() is not None:
                    raise RuntimeError(f"{self.kind} exited with {process.returncode}:\n{self.text()}")
                if time.perf_counter() - begun > START_SECONDS:
                    raise RuntimeError(f"{self.kind} does not serve after {START_SECONDS} s:\n{self.text()}")
                time.sleep(0.01)
        except BaseException:
            self.kill()
            raise
        self.seconds_to_serving = time.perf_counter() - begun
        self.address = self.port_file.read_text().strip()
        return self

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal and waits for the end; returns the exit status."""
        self.signal(number)
        return self.wait()

    def signal(self, number: int) -> None:
        """Sends a signal, if the process runs."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(number)

    def wait(self) -> int:
        """The exit status. A process that does not end is killed, which raises subprocess.TimeoutExpired."""
        assert self._process is not None
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """Ends the process at once, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(STOP_SECONDS)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """Where it serves, or served last."""
        return int(self.address.rpartition(":")[2])

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process is not None
        return self._process.pid

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process is not None and self._process.poll() is None

    def text(self) -> str:
        """All that the process has logged."""
        return self.log.read_text(errors="replace")

    def log_tail(self, lines: int = 20) -> str:
        """The last lines that it logged."""
        return "\n".join(self.text().splitlines()[-lines:])

    def logged(self) -> list[dict[str, Any]]:
        """The entries of a JSON log, without the last line: it may be half written."""
        return [json.loads(line) for line in self.text().split("\n")[:-1] if line.startswith("{")]

    def metrics_address(self) -> str:
        """Where it serves its metrics (host:port); LookupError without a metrics port and a JSON log."""
        for entry in self.logged():
            if entry["event"] == "metrics are served":
                return str(entry["address"])
        raise LookupError(f"{self.kind} serves no metrics")

    def metrics(self) -> str:
        """The text of /metrics."""
        with urllib.request.urlopen(
            f"http://{self.metrics_address()}/metrics", timeout=START_SECONDS
        ) as answer:
            return str(answer.read().decode())

    def rss_mb(self) -> float:
        """Memory resident now, in MB (10**6 bytes)."""
        return self._status_mb("VmRSS")

    def peak_rss_mb(self) -> float:
        """The most memory that was ever resident, in MB."""
        return self._status_mb("VmHWM")

    def cpu_seconds(self) -> float:
        """CPU time used so far: by the process and its children, also those that have ended."""
        return sum(_cpu_seconds(pid) for pid in _family(self.pid))

    def _status_mb(self, field: str) -> float:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == field:
                return int(value.split()[0]) * 1024 / 1e6
        raise LookupError(f"/proc/{self.pid}/status has no {field}")


class ServiceProcess(Program):
    """`clipsearch serve KIND`, or `python -m MODULE` in its place; settings by keyword."""

    def __init__(self, kind: str, folder: Path, module: str | None = None, **settings: str) -> None:
        command = cli("serve", kind) if module is None else [sys.executable, "-m", module]
        super().__init__(kind, folder, command, settings, prefix=kind.upper())


class WebProcess(Program):
    """`clipsearch web` with further flags."""

    def __init__(self, folder: Path, *flags: str, **settings: str) -> None:
        super().__init__("web", folder, cli("web", *flags), settings)


class GatewayProcess(Program):
    """`clipsearch gateway` with further flags."""

    def __init__(self, folder: Path, *flags: str, **settings: str) -> None:
        super().__init__("gateway", folder, cli("gateway", *flags), settings)

    @property
    def url(self) -> str:
        """Where it serves, without TLS."""
        return f"http://{self.address}"

    def metrics_address(self) -> str:
        """Where it serves its metrics (host:port)."""
        found = re.search(r"^metrics: http://(.*)/metrics$", self.text(), re.MULTILINE)
        if found is None:
            raise LookupError(f"{self.kind} serves no metrics")
        return found[1]


Start = Callable[..., ServiceProcess]


def children(pid: int) -> list[int]:
    """The processes that a process's main thread has started and that run still."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """The process accepts connections and answers nothing."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


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
