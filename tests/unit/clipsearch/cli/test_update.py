"""`clipsearch update` on a real search server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clipsearch.cli import app
from clipsearch.client.aio import AsyncClient
from clipsearch.client.inputs import Point
from clipsearch.ingest import Ingest, IngestReport, ItemList
from search_service.settings import SearchSettings
from tests.unit.search_service.served import FakeEncoder, serving
from tests.waiting import HANGS_S


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[AsyncClient]:
    """Of a search server with the empty collection `shop`."""
    encoder = FakeEncoder()
    await encoder.start()
    async with (
        serving(tmp_path / "data", encoder.address, SearchSettings()) as served,
        AsyncClient(served.address, timeout=HANGS_S) as client,
    ):
        await client.create_collection("shop")
        yield client
    await encoder.stop()


async def update(client: AsyncClient, *words: str) -> tuple[int, str]:
    """Exit code, and what is said. In a thread: the server's loop is this one's."""
    command = ["update", *words, "-c", "shop", "--server", client.address]
    told = await asyncio.to_thread(CliRunner().invoke, app, command)
    return told.exit_code, told.stderr


async def index(
    client: AsyncClient, file: Path, checkpoint: Path | None = None, **columns: str
) -> IngestReport:
    return await Ingest(client, "shop", ItemList(file, **columns), checkpoint=checkpoint).run()


@pytest.mark.parametrize("id", ["sku", None], ids=["ids of its own", "no ids"])
@pytest.mark.parametrize(
    "change",
    [
        ("--text", "a blue teapot"),
        ("--remove-vector", "text"),
        ("--filter", "price>5", "--remove-vector", "text"),
    ],
)
async def test_a_row_whose_vectors_were_changed_is_written_again(client, tmp_path, id, change):
    file = tmp_path / "goods.csv"
    file.write_text("sku,title,price\nmug,a red mug,7\nlamp,a lamp,2\n")
    columns = {"id": id, "text": "title"}
    await index(client, file, **columns)
    before = {point.id: point async for point in client.list_points("shop", with_vectors=True)}
    mug = next(point.id for point in before.values() if point.payload["price"] == 7)
    assert await update(client, *([] if "--filter" in change else [mug]), *change) == (0, "1 updated\n")
    report = await index(client, file, **columns)
    assert (report.indexed, report.already) == (1, 1)
    (point,) = await client.get_points("shop", [mug], with_vectors=True)
    assert point.payload == before[mug].payload
    assert point.text_vector.tolist() == before[mug].text_vector.tolist()
    assert (await index(client, file, **columns)).already == 2


@pytest.mark.parametrize("id", ["sku", None], ids=["ids of its own", "no ids"])
async def test_a_row_of_two_lists_stays_of_both(client, tmp_path, id):
    files = tmp_path / "goods.csv", tmp_path / "offers.csv"
    columns = {"id": id, "text": "title"}
    for file in files:
        file.write_text("sku,title\nmug,a red mug\nlamp,a lamp\n")
        await index(client, file, **columns)
    [mug] = [point.id async for point in client.list_points("shop", filter=['text="a red mug"'])]
    await update(client, mug, "--text", "a blue teapot")
    assert (await index(client, files[0], **columns)).indexed == 1
    files[0].write_text("sku,title\nlamp,a lamp\n")
    assert (await index(client, files[0], **columns)).gone == 0
    (point,) = await client.get_points("shop", [mug])
    assert point.payload["indexed_from"] == [str(files[1])]


@pytest.mark.parametrize("id", ["sku", None], ids=["ids of its own", "no ids"])
async def test_a_checkpoint_does_not_keep_a_row_from_being_written_again(client, tmp_path, id):
    file = tmp_path / "goods.csv"
    file.write_text("sku,title\nmug,a red mug\nlamp,a lamp\n")
    columns = {"checkpoint": tmp_path / "done.json", "id": id, "text": "title"}
    await index(client, file, **columns)
    [mug] = [point.id async for point in client.list_points("shop", filter=['text="a red mug"'])]
    await update(client, mug, "--text", "a blue teapot")
    for indexed, already in ((1, 1), (0, 2)):
        report = await index(client, file, **columns)
        assert (report.indexed, report.already) == (indexed, already)


async def test_a_row_that_is_written_again_replaces_no_other(client, tmp_path):
    file = tmp_path / "goods.csv"
    file.write_text("title,price\na mug,7\na mug,9\n")
    await index(client, file, text="title")
    [mug] = [point.id async for point in client.list_points("shop", filter=["price=7"])]
    await update(client, mug, "--text", "a blue teapot")
    file.write_text("title,price\na mug,7\n")
    report = await index(client, file, text="title")
    assert (report.indexed, report.replaced, report.gone) == (1, 0, 1)


async def test_set_and_unset_mean_the_same_field(client):
    await client.upsert("shop", [Point("mug", text="a mug", payload={"a": {"b": 1}})])
    for words, payload in (
        (["--set", '"a.b"=2', "--set", "unit price=3"], {"a": {"b": 1}, "a.b": 2, "unit price": 3}),
        (["--unset", '"a.b"', "--unset", '"unit price"'], {"a": {"b": 1}}),
        (["--unset", "a.b"], {"a": {}}),
        (["--set", 'a={"b": 2}'], {"a": {"b": 2}}),
    ):
        assert await update(client, "mug", *words) == (0, "1 updated\n")
        (point,) = await client.get_points("shop", ["mug"])
        assert point.payload == payload


@pytest.mark.parametrize("path", ["a.b", "a.b.c", "a[0]", "a[].b"])
def test_a_path_into_a_field_cannot_be_set(path):
    told = CliRunner().invoke(app, ["update", "mug", "--set", f"{path}=1", "--server", "127.0.0.1:1"])
    assert (told.exit_code, f"'{path}' leads into 'a'" in told.stderr) == (2, True), told.output


async def test_payloads_of_points_that_no_list_has_stay_as_they_are(client):
    await client.upsert("shop", [Point("mug", text="a mug", payload={"price": 7})])
    assert await update(client, "mug", "--text", "a blue teapot") == (0, "1 updated\n")
    (point,) = await client.get_points("shop", ["mug"])
    assert point.payload == {"price": 7}
