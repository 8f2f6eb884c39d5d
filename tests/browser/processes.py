"""The services and `clipsearch web`, each a process of its own, as a user would start them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.integration.conftest import ServiceProcess

_START_S = 30.0


@contextmanager
def services(
    folder: Path, bundle: Path, search_settings: dict[str, str] | None = None, **encoder_settings: str
) -> Iterator[tuple[ServiceProcess, ServiceProcess]]:
    """Yields an encoder and a search service in front of it."""
    with (
        _running(ServiceProcess("encoder", folder, ENCODER_MODEL=str(bundle), **encoder_settings)) as encoder,
        _running(
            ServiceProcess(
                "search",
                folder,
                SEARCH_ENCODER=encoder.address,
                SEARCH_DATA_DIR=str(folder / "data"),
                **(search_settings or {}),
            )
        ) as search,
    ):
        yield encoder, search


@contextmanager
def _running(process: ServiceProcess) -> Iterator[ServiceProcess]:
    try:
        yield process.start()
    finally:
        if process._process is not None:
            process.stop()


@contextmanager
def web(folder: Path, arguments: Sequence[str], **environment: str) -> Iterator[str]:
    """Yields the page's address, `http://host:port`."""
    port_file, log = folder / "web.port", folder / "web.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "clipsearch.cli",
                "web",
                "--port",
                "0",
                "--port-file",
                str(port_file),
                *arguments,
            ],
            env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), **environment},
            stdout=output,
            stderr=output,
        )
    try:
        end = time.monotonic() + _START_S
        while not port_file.exists() or not port_file.read_text():
            assert process.poll() is None, (
                f"clipsearch web ended with {process.returncode}:\n{log.read_text()}"
            )
            assert time.monotonic() < end, f"clipsearch web did not serve in {_START_S} s:\n{log.read_text()}"
            time.sleep(0.02)
        yield f"http://{port_file.read_text().strip()}"
    finally:
        process.terminate()
        process.wait(timeout=20)
