"""The service as a process: `python -m search_service`."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from search_service.settings import SearchSettings
from tests.processes import ServiceProcess
from tests.unit.search_service.served import serving


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., ServiceProcess]]:
    """Makes a search service with no encoder anywhere; it is not started yet."""
    made: list[ServiceProcess] = []

    def make(data: Path, **settings: str) -> ServiceProcess:
        told = {"SEARCH_DATA_DIR": str(data), "SEARCH_ENCODER": "127.0.0.1:1", **settings}
        made.append(ServiceProcess("search", tmp_path / "logs", module="search_service", **told))
        return made[-1]

    yield make
    for process in made:
        process.kill()


def refusal_to_start(process: ServiceProcess) -> str:
    """What a process that must not start says instead."""
    assert process.launch().wait(60) == 1
    assert "Traceback" not in process.text()
    return process.text()


async def test_a_data_directory_in_use_is_one_clear_line(make, tmp_path: Path, encoder):
    async with serving(tmp_path / "data", encoder.address, SearchSettings()):
        said = await asyncio.to_thread(refusal_to_start, make(tmp_path / "data"))
    assert f"search: the data directory {tmp_path / 'data'} is open in another process" in said


def test_a_data_directory_that_cannot_be_made_is_one_clear_line(make, tmp_path: Path):
    (tmp_path / "file").write_text("")
    said = refusal_to_start(make(tmp_path / "file" / "data"))
    assert f"search: cannot use the data directory {tmp_path / 'file' / 'data'}: Not a directory" in said


@pytest.mark.parametrize("encoder", ["SEARCH_ENCODER", "SEARCH_SECOND_ENCODER"])
def test_an_encoder_at_what_can_be_no_address_is_one_clear_line(make, tmp_path: Path, encoder):
    said = refusal_to_start(make(tmp_path / "data", **{encoder: "http://127.0.0.1:50051"}))
    assert "search: cannot connect to the encoder: 'http://127.0.0.1:50051' is a URL" in said


def test_it_starts_without_loading_an_engine_or_what_only_a_qdrant_server_needs():
    program = "import sys, search_service.__main__; print(*sys.modules)"
    command = [sys.executable, "-c", program]
    loaded = subprocess.run(command, timeout=60, check=True, capture_output=True, text=True).stdout.split()
    assert {"qdrant_client", "qdrant_edge"}.isdisjoint(loaded)
