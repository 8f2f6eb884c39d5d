"""Bulk loading against a search service that fails on demand, over a real socket."""

from __future__ import annotations

import asyncio
import json
import re
from decimal import Decimal
from pathlib import Path

import pytest

from clipsearch.client.errors import ArgumentError, ClipSearchError
from clipsearch.ingest import (
    CheckpointError,
    FlowLimits,
    Ingest,
    IngestOptions,
    IngestReport,
    IngestStopped,
    Item,
    ItemList,
    PictureFolder,
    Progress,
    batch,
)
from clipsearch.ingest.points import to_point
from clipsearch.serving.errors import InvalidArgument, ResourceExhausted
from tests.waiting import until

OPTIONS = IngestOptions(FlowLimits(first_points=3, most_points=3, first_flights=3, most_flights=3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(20):
        (tmp_path / f"{number:02}.jpg").write_bytes(f"picture {number}".encode())
    return tmp_path


async def load(client, folder: Path, **settings) -> IngestReport:
    options = IngestOptions(OPTIONS.flow, **settings)
    return await Ingest(client, "things", PictureFolder(folder), options=options).run()


async def test_every_picture_is_written_once_and_sent_once(fake, client, folder):
    fake.go_on.clear()
    loading = asyncio.create_task(load(client, folder))
    await until(lambda: fake.at_once == 3)
    fake.go_on.set()
    report = await loading
    assert (report.indexed, report.already, report.failed) == (20, 0, 0)
    assert len(fake.stored) == 20
    assert set(fake.written.values()) == {1}
    assert fake.most_at_once == 3
    calls = fake.calls
    report = await load(client, folder)
    assert (report.indexed, report.already) == (0, 20)
    assert fake.calls == calls


async def test_bad_files_are_listed_and_stop_nothing(fake, client, folder):
    (folder / "gone.jpg").symlink_to(folder / "nowhere")
    fake.refuse_point = lambda image: (
        InvalidArgument("image", "not a picture") if image == b"picture 7" else None
    )
    report = await load(client, folder)
    assert report.indexed == 19
    assert {(Path(failure.place).name, failure.reason) for failure in report.failures} == {
        ("07.jpg", "not a picture"),
        ("gone.jpg", "No such file or directory"),
    }


async def test_a_service_that_stays_away_ends_the_run_with_what_was_done(fake, client, folder):
    fake.refuse_call = lambda number, _: (
        None if number <= 2 else ResourceExhausted("full", "QUEUE_FULL", 0.05)
    )
    with pytest.raises(IngestStopped) as caught:
        await load(client, folder, patience_s=0.3)
    assert caught.value.cause.code == "RESOURCE_EXHAUSTED"
    assert 0 < caught.value.report.indexed < 20
    assert caught.value.report.indexed == len(fake.stored)


async def test_a_collection_that_is_not_there_is_found_out_before_anything_is_read(fake, client, folder):
    with pytest.raises(ClipSearchError) as caught:
        await Ingest(client, "nowhere", PictureFolder(folder)).run()
    assert caught.value.code == "NOT_FOUND"
    assert fake.asked == 0


async def test_stop_finishes_what_is_under_way_and_leaves_the_rest(fake, client, folder):
    seen: list[Progress] = []

    def stop_after_first(progress: Progress) -> None:
        seen.append(progress)
        run.stop()

    run = Ingest(client, "things", PictureFolder(folder), options=OPTIONS, on_progress=stop_after_first)
    report = await run.run()
    assert report.interrupted
    assert 3 <= report.indexed <= 9
    assert report.indexed == len(fake.stored)
    assert seen[0].rate > 0


async def test_a_folder_takes_no_checkpoint(fake, client, folder):
    with pytest.raises(CheckpointError, match="takes no checkpoint"):
        await Ingest(client, "things", PictureFolder(folder), checkpoint=folder / "c.json").run()
    assert not (folder / "c.json").exists()
    assert fake.calls == 0


def write_rows(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


async def load_list(client, path: Path, **settings) -> IngestReport:
    return await Ingest(client, "things", ItemList(path), options=OPTIONS, **settings).run()


async def test_only_rows_that_changed_are_written_again(fake, client, folder):
    rows = [{"id": str(n), "text": f"text {n}", "price": n} for n in range(10)]
    rows += [{"id": f"picture {n}", "path": f"{n:02}.jpg"} for n in range(3)]
    await load_list(client, write_rows(folder / "list.jsonl", rows))
    rows[3]["price"] = 99
    rows[5]["text"] = "another text"
    rows.append({"id": "new", "text": "new"})
    (folder / "02.jpg").write_bytes(b"another picture")
    report = await load_list(client, write_rows(folder / "list.jsonl", rows))
    assert (report.indexed, report.already) == (4, 10)
    assert {id for id, times in fake.written.items() if times > 1} == {"3", "5", "picture 2"}
    assert fake.stored["3"].payload["price"] == 99
    assert fake.stored["5"].text == "another text"
    assert not fake.stored["5"].HasField("image")
    assert fake.stored["picture 2"].image == b"another picture"


async def test_what_cannot_be_sent_fails_alone(client, folder):
    rows = write_rows(
        folder / "list.jsonl",
        [
            {"id": "good", "text": "good"},
            {"id": "nothing", "price": 1},
            {"id": "big", "text": "x", "number": 2**60},
            {"id": "gone", "path": "gone.jpg"},
            {"id": "half", "text": "\ud800"},
            {"id": "no path", "path": "\ud800"},
            {"id": "nor this", "path": "a\0b"},
            {"id": "u" * 600, "text": "x"},
            {"id": "deep", "text": "x", "deep": json.loads("[" * 480 + "]" * 480)},
        ],
    )
    told = []
    report = await load_list(client, rows, on_failure=told.append)
    assert (report.indexed, report.failed) == (1, 8)
    reasons = {failure.id: (failure.place, failure.reason) for failure in report.failures}
    assert reasons["nothing"] == ("list.jsonl, line 2", "has neither an image nor a text")
    assert "payload.number" in reasons["big"][1]
    assert "is no text" in reasons["half"][1]
    assert "id: must be 1 to 512 bytes" in reasons["u" * 600][1]
    assert "inside one another" in reasons["deep"][1]
    assert "cannot be a path" in reasons["no path"][1]
    assert "cannot be a path" in reasons["nor this"][1]
    assert "gone.jpg: No such file" in reasons["gone"][1]
    assert {failure.id for failure in told} == set(reasons)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"image_vector": [1.0, "x"]}, "image_vector: must be a list of numbers"),
        ({"text": "x", "payload": {"n": 10**5000}}, "payload.n: an integer of 16,610 bits is beyond 2**53"),
    ],
)
def test_what_an_item_of_a_source_of_ones_own_cannot_hold_is_its_fault(content, said):
    with pytest.raises(ArgumentError, match=re.escape(said)):
        to_point(Item(0, "here", **content))


def test_a_decimal_that_is_no_number_is_no_value():
    for number in ("NaN", "sNaN"):
        assert to_point(Item(0, "here", text="x", payload={"n": Decimal(number)})).payload == {"n": None}


@pytest.mark.parametrize("where", ["to_point", "upsert"])
async def test_a_fault_of_our_own_is_no_fault_of_an_item(client, folder, monkeypatch, where):
    def fail(*_, **__):
        raise ValueError("a bug")

    monkeypatch.setattr(batch if where == "to_point" else client, where, fail)
    rows = write_rows(folder / "list.jsonl", [{"text": "a mug"}])
    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="a bug")):
        await load_list(client, rows)


async def test_a_service_with_a_smaller_limit_is_learned(fake, client, folder):
    fake.refuse_call = lambda _, request: (
        InvalidArgument("points", "too many", "COUNT_OUT_OF_RANGE") if len(request.points) > 4 else None
    )
    rows = write_rows(folder / "list.jsonl", [{"text": f"text {n}"} for n in range(200)])
    report = await Ingest(client, "things", ItemList(rows)).run()
    assert report.indexed == 200
    assert max(fake.call_sizes[-20:]) <= 4


async def test_calls_grow_while_the_service_keeps_up(fake, client, folder):
    rows = write_rows(folder / "list.jsonl", [{"text": f"text {n}"} for n in range(3000)])
    await Ingest(client, "things", ItemList(rows)).run()
    assert fake.call_sizes[0] == 16
    # How far they grow hangs on how fast this machine answers: test_congestion has the rule.
    assert 16 < max(fake.call_sizes) <= 256
    assert fake.most_at_once <= 16
