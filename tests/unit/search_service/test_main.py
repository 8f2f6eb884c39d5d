"""The service as a process: `python -m search_service`."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from clipsearch.search.v1 import collection_pb2, collection_pb2_grpc, search_pb2, search_pb2_grpc
from search_service.settings import SearchSettings
from tests.processes import ServiceProcess
from tests.unit.search_service.served import point, refused, serving, term, unit


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


@pytest.mark.slow
async def test_it_serves_vectors_without_an_encoder_and_keeps_them(make, tmp_path: Path):
    process = make(tmp_path / "data").start()
    async with grpc.aio.insecure_channel(process.address) as channel:
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
    assert process.stop() == 0
    async with grpc.aio.insecure_channel(process.start().address) as channel:
        points = search_pb2_grpc.SearchServiceStub(channel)
        request = search_pb2.GetPointsRequest(collection="c", ids=["a"], with_vectors=True)
        [kept] = (await points.GetPoints(request)).points
        assert np.array(kept.image_vector.values) == pytest.approx(unit(1))


async def test_a_data_directory_in_use_is_one_clear_line(make, tmp_path: Path, encoder):
    async with serving(tmp_path / "data", encoder.address, SearchSettings()):
        said = await asyncio.to_thread(refusal_to_start, make(tmp_path / "data"))
    assert f"search: the data directory {tmp_path / 'data'} is open in another process" in said


def test_a_data_directory_that_cannot_be_made_is_one_clear_line(make, tmp_path: Path):
    (tmp_path / "file").write_text("")
    said = refusal_to_start(make(tmp_path / "file" / "data"))
    assert f"search: cannot use the data directory {tmp_path / 'file' / 'data'}: Not a directory" in said


def test_a_misspelt_variable_is_one_clear_line(make, tmp_path: Path):
    said = refusal_to_start(make(tmp_path / "data", SEARCH_ENCODR="x"))
    assert "SEARCH_ENCODR: no such setting; did you mean SEARCH_ENCODER?" in said


def test_it_starts_without_loading_what_only_a_qdrant_server_needs():
    program = "import sys, search_service.__main__; sys.exit('qdrant_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
