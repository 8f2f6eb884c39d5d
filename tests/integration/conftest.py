"""Real processes over real sockets: both services as an operator would start them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clipsearch.samples import write_samples

START_SECONDS = 60.0


class ServiceProcess:
    """A service in a process of its own, with its log."""

    def __init__(self, kind: str, folder: Path, **environment: str) -> None:
        self.kind = kind
        self.command = [sys.executable, "-m", "clipsearch.cli", "serve", kind]
        self.log = folder / f"{kind}-{os.urandom(3).hex()}.log"
        self.port_file = self.log.with_suffix(".port")
        self.environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self.address = ""

    def launch(self, port: int = 0) -> subprocess.Popen[bytes]:
        """Starts the process without waiting for it."""
        self.port_file.unlink(missing_ok=True)
        prefix = self.kind.upper()
        told = {f"{prefix}_PORT": str(port), f"{prefix}_PORT_FILE": str(self.port_file)}
        environment = {**os.environ, **self.environment, **told}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
        return self._process

    def start(self, port: int = 0) -> ServiceProcess:
        """Starts the process and waits until it serves."""
        process = self.launch(port)
        end = time.monotonic() + START_SECONDS
        while not self.port_file.exists():
            assert process.poll() is None, f"{self.kind} exited with {process.returncode}:\n{self.text()}"
            assert time.monotonic() < end, f"{self.kind} did not serve in {START_SECONDS} s:\n{self.text()}"
            time.sleep(0.02)
        self.address = self.port_file.read_text().strip()
        return self

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def text(self) -> str:
        """What the process has logged."""
        return self.log.read_text(errors="replace")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal and waits for the end; returns the exit status."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(number)
        return self._process.wait(timeout=30)


Start = Callable[..., ServiceProcess]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Makes service processes; whatever still runs at the end of the module is ended."""
    folder = tmp_path_factory.mktemp("services")
    made: list[ServiceProcess] = []

    def make(kind: str, **environment: str) -> ServiceProcess:
        made.append(ServiceProcess(kind, folder, **environment))
        return made[-1]

    yield make
    for process in made:
        if process._process is not None and process._process.poll() is None:
            process.stop(signal.SIGKILL)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The sample photographs, as files."""
    return write_samples(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def encoder(service: Start, starter_bundle: Path) -> ServiceProcess:
    """A running encoder with the starter bundle."""
    return service("encoder", ENCODER_MODEL=str(starter_bundle)).start()


@pytest.fixture(scope="module")
def search(
    service: Start, encoder: ServiceProcess, tmp_path_factory: pytest.TempPathFactory
) -> ServiceProcess:
    """A running search service on Qdrant Edge, in front of the encoder."""
    data = tmp_path_factory.mktemp("data")
    return service("search", SEARCH_ENCODER=encoder.address, SEARCH_DATA_DIR=str(data)).start()
