"""Bulk loading against a search service that fails on demand, over a real socket."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import pytest
from google.rpc import status_pb2

from clipsearch.aio import AsyncClient
from clipsearch.errors import ClipSearchError
from clipsearch.ingest import Ingest, IngestOptions, IngestReport, IngestStopped, Progress
from clipsearch.search.v1 import search_pb2, search_pb2_grpc
from clipsearch.serving.errors import InvalidArgument, NotFound, ResourceExhausted, ServiceError, to_status
from clipsearch.serving.errors_interceptor import ErrorInterceptor
from clipsearch.sources import find_pictures


class FakeSearch(search_pb2_grpc.SearchServiceServicer):
    """Keeps ids; `refuse_call` and `refuse_point` may refuse what comes."""

    def __init__(self) -> None:
        self.stored: dict[str, str] = {}
        self.written: Counter[str] = Counter()
        self.calls = 0
        self.at_once = 0
        self.most_at_once = 0
        self.refuse_call: Callable[[int, search_pb2.UpsertRequest], ServiceError | None] = (
            lambda number, request: None
        )
        self.refuse_point: Callable[[bytes], ServiceError | None] = lambda image: None

    async def GetPoints(self, request, context):
        found = [search_pb2.StoredPoint(id=i) for i in request.ids if i in self.stored]
        return search_pb2.GetPointsResponse(points=found)

    async def Upsert(self, request, context):
        self.calls += 1
        number = self.calls
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(0.005)
            refused = self.refuse_call(number, request)
            if refused is not None:
                raise refused
            return search_pb2.UpsertResponse(results=[self._write(point) for point in request.points])
        finally:
            self.at_once -= 1

    def _write(self, point: search_pb2.Point) -> search_pb2.UpsertResult:
        refused = self.refuse_point(point.image)
        if refused is not None:
            return search_pb2.UpsertResult(id=point.id, status=to_status(refused))
        self.stored[point.id] = point.payload["name"]
        self.written[point.id] += 1
        return search_pb2.UpsertResult(id=point.id, status=status_pb2.Status())


@pytest.fixture
async def served() -> AsyncIterator[tuple[FakeSearch, AsyncClient]]:
    fake = FakeSearch()
    server = grpc.aio.server(interceptors=[ErrorInterceptor()])
    search_pb2_grpc.add_SearchServiceServicer_to_server(fake, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with AsyncClient(f"127.0.0.1:{port}", timeout=10) as client:
        yield fake, client
    await server.stop(None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(20):
        (tmp_path / f"{number:02}.jpg").write_bytes(f"picture {number}".encode())
    return tmp_path


async def load(client: AsyncClient, folder: Path, **settings) -> IngestReport:
    options = IngestOptions(batch_points=3, flights=3, **settings)
    return await Ingest(client, "images", find_pictures(folder), options=options).run()


async def test_every_picture_is_written_once(served, folder):
    fake, client = served
    report = await load(client, folder)
    assert (report.indexed, report.already, report.failures) == (20, 0, ())
    assert len(fake.stored) == 20
    assert set(fake.written.values()) == {1}
    assert fake.most_at_once == 3


async def test_a_second_run_sends_no_picture(served, folder):
    fake, client = served
    await load(client, folder)
    calls = fake.calls
    report = await load(client, folder)
    assert (report.indexed, report.already) == (0, 20)
    assert fake.calls == calls


async def test_files_of_equal_content_are_one_point(served, folder):
    fake, client = served
    for number in range(5):
        (folder / f"copy{number}.jpg").write_bytes(b"picture 0")
    report = await load(client, folder)
    assert (report.indexed, report.already) == (20, 5)
    assert set(fake.written.values()) == {1}


async def test_bad_files_are_listed_and_stop_nothing(served, folder):
    fake, client = served
    (folder / "gone.jpg").symlink_to(folder / "nowhere")
    fake.refuse_point = lambda image: (
        InvalidArgument("image", "not a picture") if image == b"picture 7" else None
    )
    report = await load(client, folder)
    assert report.indexed == 19
    assert {(failure.path.name, failure.reason) for failure in report.failures} == {
        ("07.jpg", "not a picture"),
        ("gone.jpg", "No such file or directory"),
    }


async def test_a_full_service_is_given_time(served, folder):
    fake, client = served
    fake.refuse_call = lambda number, _: ResourceExhausted("full", "QUEUE_FULL", 0.01) if number % 2 else None
    report = await load(client, folder)
    assert report.indexed == 20
    assert len(fake.stored) == 20


async def test_points_that_met_a_full_encoder_are_sent_again(served, folder):
    fake, client = served
    met: set[bytes] = set()

    def once(image: bytes) -> ServiceError | None:
        if image in met:
            return None
        met.add(image)
        return ResourceExhausted("full", "QUEUE_FULL", 0.01)

    fake.refuse_point = once
    report = await load(client, folder)
    assert (report.indexed, report.failures) == (20, ())


async def test_a_batch_blamed_as_a_whole_costs_only_the_file_at_fault(served, folder):
    fake, client = served
    fake.refuse_call = lambda _, request: (
        InvalidArgument("points", "one of these is bad")
        if any(point.image == b"picture 4" for point in request.points)
        else None
    )
    report = await load(client, folder)
    assert report.indexed == 19
    assert [failure.path.name for failure in report.failures] == ["04.jpg"]


async def test_a_service_that_stays_away_ends_the_run_with_what_was_done(served, folder):
    fake, client = served
    fake.refuse_call = lambda number, _: (
        None if number <= 2 else ResourceExhausted("full", "QUEUE_FULL", 0.05)
    )
    with pytest.raises(IngestStopped) as caught:
        await load(client, folder, patience_s=0.3)
    assert caught.value.cause.code == "RESOURCE_EXHAUSTED"
    assert 0 < caught.value.report.indexed < 20
    assert caught.value.report.indexed == len(fake.stored)


async def test_a_collection_that_is_not_there_ends_the_run_at_once(served, folder):
    fake, client = served
    fake.refuse_call = lambda number, _: NotFound("collection", "images")
    with pytest.raises(IngestStopped) as caught:
        await load(client, folder)
    assert isinstance(caught.value.cause, ClipSearchError)
    assert caught.value.cause.code == "NOT_FOUND"


async def test_stop_finishes_what_is_under_way_and_leaves_the_rest(served, folder):
    fake, client = served
    seen: list[Progress] = []

    def stop_after_first(progress: Progress) -> None:
        seen.append(progress)
        run.stop()

    options = IngestOptions(batch_points=3, flights=2)
    run = Ingest(
        client, "images", find_pictures(folder), total=20, options=options, on_progress=stop_after_first
    )
    report = await run.run()
    assert report.interrupted
    assert 3 <= report.indexed <= 6
    assert report.indexed == len(fake.stored)
    assert seen[0].remaining_s is not None
