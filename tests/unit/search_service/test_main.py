"""The service as a process: `python -m search_service`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from clipsearch.search.v1 import collection_pb2, collection_pb2_grpc, search_pb2, search_pb2_grpc
from search_service.settings import SearchSettings
from tests.unit.search_service.served import point, refused, serving, term, unit

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a search service on a free port, with no encoder anywhere."""
    begun: list[subprocess.Popen[str]] = []

    def begin(data: Path, **environment: str) -> subprocess.Popen[str]:
        begun.append(
            subprocess.Popen(
                [sys.executable, "-m", "search_service"],
                env={
                    **os.environ,
                    "SEARCH_PORT": "0",
                    "SEARCH_DATA_DIR": str(data),
                    "SEARCH_PORT_FILE": str(tmp_path / "address"),
                    "SEARCH_ENCODER": "127.0.0.1:1",
                    **environment,
                },
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return begun[-1]

    yield begin
    for process in begun:
        if process.poll() is None:
            process.kill()
        process.communicate()


def address(file: Path, process: subprocess.Popen[str]) -> str:
    end = time.monotonic() + 60
    while not file.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.02)
    return file.read_text().strip()


@pytest.mark.slow
async def test_it_serves_vectors_without_an_encoder_and_keeps_them(start: Start, tmp_path: Path):
    process = start(tmp_path / "data")
    async with grpc.aio.insecure_channel(address(tmp_path / "address", process)) as channel:
        points, collections = (
            search_pb2_grpc.SearchServiceStub(channel),
            collection_pb2_grpc.CollectionServiceStub(channel),
        )
        await collections.CreateCollection(
            collection_pb2.CreateCollectionRequest(name="c", dimension=8, fingerprint="mine")
        )
        await points.Upsert(
            search_pb2.UpsertRequest(collection="c", points=[point("a", image_vector=unit(1))])
        )
        why = await refused(points.Search(search_pb2.SearchRequest(collection="c", query=[term("words")])))
        assert (why.code, why.reason) == ("UNAVAILABLE", "ENCODER_UNAVAILABLE")
        found = await points.Search(search_pb2.SearchRequest(collection="c", query=[term(unit(1))]))
        assert [hit.id for hit in found.hits] == ["a"]
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    (tmp_path / "address").unlink()
    process = start(tmp_path / "data")
    async with grpc.aio.insecure_channel(address(tmp_path / "address", process)) as channel:
        points = search_pb2_grpc.SearchServiceStub(channel)
        request = search_pb2.GetPointsRequest(collection="c", ids=["a"], with_vectors=True)
        [kept] = (await points.GetPoints(request)).points
        assert np.array(kept.image_vector.values) == pytest.approx(unit(1))


async def test_a_data_directory_in_use_is_one_clear_line(start: Start, tmp_path: Path, encoder):
    async with serving(tmp_path / "data", encoder.address, SearchSettings()):
        process = start(tmp_path / "data")
        _, log = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"search: the data directory {tmp_path / 'data'} is open in another process" in log
    assert "Traceback" not in log


def test_a_data_directory_that_cannot_be_made_is_one_clear_line(start: Start, tmp_path: Path):
    (tmp_path / "file").write_text("")
    process = start(tmp_path / "file" / "data")
    _, log = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"search: cannot use the data directory {tmp_path / 'file' / 'data'}: Not a directory" in log
    assert "Traceback" not in log


def test_a_misspelt_variable_is_one_clear_line(start: Start, tmp_path: Path):
    process = start(tmp_path / "data", SEARCH_ENCODR="x")
    _, log = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "SEARCH_ENCODR: no such setting; did you mean SEARCH_ENCODER?" in log
    assert "Traceback" not in log


def test_it_starts_without_loading_what_only_a_qdrant_server_needs():
    program = "import sys, search_service.__main__; sys.exit('qdrant_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
