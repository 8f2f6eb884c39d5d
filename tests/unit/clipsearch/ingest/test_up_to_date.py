"""A source that changed since it was indexed: what is updated, replaced, removed, and left alone."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from clipsearch.ingest import (
    EmptySource,
    FlowLimits,
    Ingest,
    IngestOptions,
    IngestReport,
    ItemList,
    PictureFolder,
)
from clipsearch.ingest import points as points_module
from clipsearch.search.v1 import search_pb2

OPTIONS = IngestOptions(FlowLimits(first_points=4, most_points=4, first_flights=3, most_flights=3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return pictures(tmp_path / "pictures", a=b"A", b=b"B", c=b"C", d=b"D")


def pictures(folder: Path, **contents: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / f"{name}.jpg").write_bytes(content)
    return folder


async def load(client, source, *, prune: bool = False) -> IngestReport:
    """The report, with what a run of prune removed; each item is in exactly one count."""
    run = Ingest(client, "things", source, options=OPTIONS)
    report = await run.run()
    counts = (report.indexed, report.updated, report.already, report.merged, report.failed)
    assert sum(counts) == report.total
    if prune:
        assert await run.prune() == report.gone
    return report


def paths(fake) -> set[str]:
    return {str(fake.payload(id)["path"]) for id in fake.stored}


def named(fake) -> set[str]:
    return {Path(path).name for path in paths(fake)}


async def test_a_picture_that_was_renamed_keeps_its_vectors(fake, client, folder):
    await load(client, PictureFolder(folder))
    (folder / "a.jpg").rename(folder / "z.jpg")
    (folder / "sub").mkdir()
    (folder / "b.jpg").rename(folder / "sub" / "B.JPG")
    (folder / "c.jpg").rename(folder / "C.jpg")
    report = await load(client, PictureFolder(folder))
    assert (report.updated, report.already, report.indexed, report.gone) == (3, 1, 0, 0)
    assert named(fake) == {"z.jpg", "B.JPG", "C.jpg", "d.jpg"}
    assert fake.encoded.total() == 4
    assert (await load(client, PictureFolder(folder))).already == 4


async def test_two_pictures_that_swapped_their_names_are_followed(fake, client, folder):
    await load(client, PictureFolder(folder))
    (folder / "a.jpg").rename(folder / "x")
    (folder / "b.jpg").rename(folder / "a.jpg")
    (folder / "x").rename(folder / "b.jpg")
    report = await load(client, PictureFolder(folder))
    assert (report.updated, report.already, report.indexed, report.replaced) == (2, 2, 0, 0)
    by_path = {fake.payload(id)["name"]: id for id in fake.stored}
    assert by_path["a.jpg"] == points_module.hashlib.sha256(b"B").hexdigest()[:32]
    assert fake.encoded.total() == 4


async def test_a_picture_that_was_overwritten_replaces_the_old_one(fake, client, folder):
    await load(client, PictureFolder(folder))
    (folder / "a.jpg").write_bytes(b"edited")
    report = await load(client, PictureFolder(folder))
    assert (report.indexed, report.already, report.replaced, report.gone) == (1, 3, 1, 0)
    assert len(fake.stored) == 4
    assert named(fake) == {"a.jpg", "b.jpg", "c.jpg", "d.jpg"}


async def test_equal_pictures_share_a_point_that_outlives_either(fake, client, folder):
    pictures(folder, e=b"A", f=b"A")
    report = await load(client, PictureFolder(folder))
    assert (report.indexed, report.merged) == (4, 2)
    (folder / "a.jpg").unlink()
    report = await load(client, PictureFolder(folder), prune=True)
    # That a.jpg is gone is written to the point by whichever batch is first: as its own, or as one merged.
    assert (report.updated + report.already, report.merged, report.gone) == (4, 1, 0)
    assert named(fake) in ({"b.jpg", "c.jpg", "d.jpg", name} for name in ("e.jpg", "f.jpg"))
    assert fake.encoded.total() == 4


async def test_one_folder_does_not_take_the_points_of_another(fake, client, folder, tmp_path):
    other = pictures(tmp_path / "pictures 2", a=b"A", x=b"X")  # whose name begins like that of the first
    await load(client, PictureFolder(folder))
    report = await load(client, PictureFolder(other))
    assert (report.indexed, report.merged, report.gone) == (1, 1, 0)
    shutil.rmtree(folder)
    report = await load(client, PictureFolder(folder, allow_empty=True), prune=True)
    assert report.gone == 3
    assert paths(fake) == {str(other / "a.jpg"), str(other / "x.jpg")}  # the first's copy is in the second


async def test_a_folder_inside_another_is_only_itself(fake, client, folder):
    inner = pictures(folder / "inner", x=b"X", y=b"Y")
    await load(client, PictureFolder(folder))
    (inner / "x.jpg").unlink()
    (folder / "a.jpg").unlink()
    assert (await load(client, PictureFolder(inner), prune=True)).gone == 1
    assert named(fake) == {"a.jpg", "b.jpg", "c.jpg", "d.jpg", "y.jpg"}


async def test_a_folder_has_one_name_wherever_it_is_given_from(client, folder, monkeypatch):
    await load(client, PictureFolder(folder))
    monkeypatch.chdir(folder)
    for name in (".", "../pictures", f"{folder}/", f"{folder}/../pictures"):
        assert (await load(client, PictureFolder(name))).already == 4


@pytest.mark.parametrize("hidden", ["unreadable", "linked"])
async def test_what_cannot_be_seen_is_not_gone(fake, client, folder, tmp_path, monkeypatch, hidden):
    inner = pictures(folder / "inner", x=b"X")
    await load(client, PictureFolder(folder))
    if hidden == "linked":
        inner.rename(tmp_path / "elsewhere")
        inner.symlink_to(tmp_path / "elsewhere")
    else:
        scan = os.scandir

        def refuse(path):
            if Path(path) == inner:
                raise PermissionError(13, "Permission denied", str(path))
            return scan(path)

        monkeypatch.setattr(os, "scandir", refuse)
    source = PictureFolder(folder)
    report = await load(client, source, prune=True)
    assert (report.already, report.gone) == (4, 0)
    assert str(inner) in " ".join(source.remarks())
    assert len(fake.stored) == 5


async def test_points_of_others_in_the_collection_stay(fake, client, folder):
    await load(client, PictureFolder(folder))
    payload = {"path": str(folder / "gone.jpg")}
    (folder / "list.jsonl").write_text('{"id": "row", "text": "t"}\n')
    await load(client, ItemList(folder / "list.jsonl"))
    fake.stored["by hand"] = search_pb2.Point(id="by hand", payload=fake.stored["row"].payload)
    fake.stored["by hand"].payload.Clear()
    fake.stored["by hand"].payload.update(payload)
    assert (await load(client, PictureFolder(folder), prune=True)).gone == 0
    assert {"row", "by hand"} <= fake.stored.keys()


async def test_what_others_have_put_into_the_payload_stays(fake, client, folder):
    await load(client, PictureFolder(folder))
    for point in fake.stored.values():
        point.payload.update({"rating": 5})
    (folder / "a.jpg").rename(folder / "z.jpg")
    await load(client, PictureFolder(folder))
    assert {fake.payload(id)["rating"] for id in fake.stored} == {5}


async def test_a_picture_that_cannot_be_read_now_is_not_gone(fake, client, folder):
    await load(client, PictureFolder(folder))
    (folder / "a.jpg").unlink()
    (folder / "a.jpg").symlink_to(folder / "a.jpg")
    report = await load(client, PictureFolder(folder), prune=True)
    assert (report.failed, report.gone, len(fake.stored)) == (1, 0, 4)


@pytest.mark.parametrize(("name", "problem"), [("nowhere", "no such folder"), (".", "holds no images")])
def test_a_folder_without_pictures_is_empty_only_when_allowed(tmp_path, name, problem):
    with pytest.raises(EmptySource, match=problem):
        PictureFolder(tmp_path / name).prepare()
    assert PictureFolder(tmp_path / name, allow_empty=True).prepare() == 0


async def test_a_successor_gets_the_picture_again(fake, client, folder):
    await load(client, PictureFolder(folder))
    fake.successor = "next"
    (folder / "a.jpg").rename(folder / "z.jpg")
    report = await load(client, PictureFolder(folder))
    assert (report.indexed, report.already) == (1, 3)
    assert "z.jpg" in named(fake)
    assert all(point.HasField("image") for point in fake.stored.values())


def listed(path: Path, *rows: str) -> ItemList:
    path.write_text("\n".join(["text,price", *rows]) + "\n")
    return ItemList(path, allow_empty=True)


def rows(fake) -> list[tuple[object, object]]:
    found = [fake.payload(id) for id in fake.stored]
    return sorted((payload["text"], payload.get("price")) for payload in found)


async def test_rows_without_ids_follow_their_list(fake, client, tmp_path):
    path = tmp_path / "n.csv"
    await load(client, listed(path, "shirt,10", "shirt,25", "mug,3", "mug,3"))
    assert rows(fake) == [("mug", 3), ("shirt", 10), ("shirt", 25)]
    report = await load(client, listed(path, "shirt,12", "shirt,25", "mug,3"))
    assert (report.indexed, report.already, report.replaced, report.gone) == (1, 2, 1, 0)
    assert rows(fake) == [("mug", 3), ("shirt", 12), ("shirt", 25)]
    report = await load(client, listed(path, "shirt,25"))
    assert (report.already, report.gone) == (1, 2)
    assert len(fake.stored) == 3
    await load(client, listed(path, "shirt,25"), prune=True)
    assert rows(fake) == [("shirt", 25)]


async def test_two_lists_share_a_row_until_neither_has_it(fake, client, tmp_path):
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    await load(client, listed(one, "shirt,10", "mug,3"))
    report = await load(client, listed(two, "shirt,10", "hat,7"))
    assert (report.indexed, report.updated) == (1, 1)
    report = await load(client, listed(two, "hat,7"), prune=True)
    assert report.gone == 0
    assert rows(fake) == [("hat", 7), ("mug", 3), ("shirt", 10)]
    await load(client, listed(one, "mug,3"), prune=True)
    assert rows(fake) == [("hat", 7), ("mug", 3)]


@pytest.mark.parametrize("left", [None, "not a row"], ids=["missing", "not readable"])
async def test_a_list_that_may_have_a_row_keeps_the_other_from_removing_it(fake, client, tmp_path, left):
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    for path in (one, two):
        path.write_text('{"id": "mug", "text": "a mug"}\n')
        await load(client, ItemList(path))
    one.unlink()  # as when its drive is not connected
    if left is not None:
        one.write_text(f"{left}\n")
    await load(client, ItemList(one, allow_empty=True))
    two.write_text('{"id": "hat", "text": "a hat"}\n')
    assert (await load(client, ItemList(two), prune=True)).gone == 0
    assert set(fake.stored) == {"mug", "hat"}
    assert (await load(client, ItemList(one, allow_empty=True), prune=True)).gone == 1
    assert set(fake.stored) == {"hat"}


async def test_rows_of_ids_that_are_gone_are_pruned_and_bad_rows_are_not(client, tmp_path):
    path = tmp_path / "n.jsonl"
    path.write_text("".join(f'{{"id": "{n}", "text": "thing {n}"}}\n' for n in range(6)))
    await load(client, ItemList(path))
    path.write_text('{"id": "0", "text": "thing 0"}\n{"id": "1", "text": 5}\n{"text": "thing 2"}\n')
    report = await load(client, ItemList(path))
    assert (report.already, report.failed, report.gone, report.uncertain) == (1, 2, 3, 0)
    path.write_text('{"id": "0", "text": "thing 0"}\n{"id": "1", "te\n')
    report = await load(client, ItemList(path))
    assert (report.gone, report.uncertain) == (5, 1)


async def test_an_empty_list_has_lost_all_its_rows(fake, client, tmp_path):
    path = tmp_path / "n.csv"
    await load(client, listed(path, "shirt,10", "mug,3"))
    path.unlink()
    assert (await load(client, ItemList(path, allow_empty=True), prune=True)).gone == 2
    assert not fake.stored
