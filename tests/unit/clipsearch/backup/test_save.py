"""Making a backup: all of it, while others write, and on from where it was stopped."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from pyarrow import parquet

from clipsearch.backup.archive import Archive
from clipsearch.backup.manifest import BackupError
from clipsearch.backup.parts import decode
from clipsearch.backup.save import Save
from clipsearch.client.errors import ClipSearchError
from tests.unit.clipsearch.backup.conftest import NAME, Instead, made
from tests.unit.search_service.served import DIMENSION


class Stopped(Exception):
    pass


def ids(path) -> list[str]:
    with Archive(path) as archive:
        said = archive.manifest()
        return [row.id for part in said.parts for row in decode(archive.read(part), DIMENSION, "part")]


async def stopped(client, path, points: int = 100) -> None:
    """Begins a backup, and stops it in the middle of a part."""

    def stop(done: int, total: int) -> None:
        if done > points:
            raise Stopped

    with pytest.raises(Stopped):
        await Save(client, NAME, path, stop).run()


async def test_the_format_is_the_documented_one(here, tmp_path):
    await Save(here, "goods", tmp_path / "b").run()
    said = json.loads((tmp_path / "b" / "manifest.json").read_text())
    assert (said["format"], said["version"], said["collection"]) == ("clipsearch backup", 1, NAME)
    assert (said["aliases"], said["successor"]) == (["goods"], "")
    assert (said["points_at_start"], said["points_at_end"]) == (202, 202)
    assert sum(part["points"] for part in said["parts"]) == 202
    assert said["started"] <= said["finished"]
    names = {path.name for path in (tmp_path / "b").iterdir()}
    assert names == {"manifest.json", *(part["file"] for part in said["parts"])}
    rows = parquet.read_table(tmp_path / "b" / said["parts"][0]["file"]).to_pylist()
    assert set(rows[0]) == {"id", "payload", "image_vector", "text_vector"}
    by_id = {point.id: point for point in await here.get_points(NAME, [row["id"] for row in rows])}
    assert [json.loads(row["payload"]) for row in rows] == [by_id[row["id"]].payload for row in rows]


@pytest.mark.parametrize("name", ["folder", "file.tar"])
async def test_a_run_that_was_stopped_goes_on_after_its_last_part(here, tmp_path, name):
    path = tmp_path / name
    await stopped(here, path)
    folder = tmp_path / f"{name}.unfinished" if name.endswith("tar") else path
    kept = {part: part.read_bytes() for part in folder.glob("part-*")}
    assert len(kept) > 2
    seen: list[int] = []
    said = await Save(here, NAME, path, lambda done, total: seen.append(done)).run()
    assert seen[0] > 64, "what was written is not read again"
    assert sorted(ids(path)) == sorted([point.id async for point in here.list_points(NAME)])
    assert said.points == 202
    if path.is_dir():
        assert all(part.read_bytes() == content for part, content in kept.items())
    else:
        assert not folder.exists()


async def test_what_nobody_changed_is_in_it_once_whatever_others_write(here, tmp_path):
    written = 0

    async def busy(*args, **kwargs):
        """Between the pages: new points, changes and deletions, on both sides of where the backup is."""
        nonlocal written
        page = await here.list_page(*args, **kwargs)
        await here.upsert(NAME, [replace(made(0), id=f"new{written}"), made(written)])
        await here.delete_points(NAME, [f"p{199 - written}"])
        written += 1
        return page

    said = await Save(Instead(here, list_page=busy), NAME, tmp_path / "b").run()
    found = ids(tmp_path / "b")
    assert len(found) == len(set(found)) == said.points
    untouched = {f"p{n}" for n in range(written, 200 - written)} | {"bare"}
    assert len(untouched) > 150
    assert untouched <= set(found)
    assert (said.points_at_start, said.points_at_end) == (202, 202)


async def test_a_point_caught_in_the_middle_of_a_write_is_read_again(here, tmp_path):
    async def torn(*args, **kwargs):
        page = await here.list_page(*args, **kwargs)
        return replace(page, points=tuple(replace(p, image_vector=None) for p in page.points))

    await Save(Instead(here, list_page=torn), NAME, tmp_path / "b").run()
    with Archive(tmp_path / "b") as archive:
        parts = archive.manifest().parts
        rows = [row for part in parts for row in decode(archive.read(part), DIMENSION, "part")]
    images = (await here.get_collection(NAME)).image_vectors
    assert sum(row.image_vector is not None for row in rows) == images


async def test_pages_are_as_large_as_a_message_holds(here, tmp_path):
    sizes: list[int] = []

    async def full(*args, page_size: int, **kwargs):
        sizes.append(page_size)
        if page_size > 5:
            raise ClipSearchError("RESOURCE_EXHAUSTED", "message larger than max")
        return await here.list_page(*args, page_size=page_size, **kwargs)

    said = await Save(Instead(here, list_page=full), NAME, tmp_path / "b").run()
    assert said.points == 202
    assert sizes[:4] == [16, 8, 4, 4]


async def test_what_lies_there_already_is_not_written_over(here, tmp_path):
    await here.create_collection("other", dimension=DIMENSION, fingerprint="another")
    finished, begun, full = (tmp_path / name for name in ("finished", "begun", "full"))
    await Save(here, NAME, finished).run()
    await stopped(here, begun)
    full.mkdir()
    (full / "notes.txt").write_text("mine")
    (tmp_path / "a.tar").write_text("mine")

    def contents() -> dict:
        files = [tmp_path / "a.tar", *(file for path in (finished, begun, full) for file in path.iterdir())]
        return {file: file.read_bytes() for file in files}

    for name, path, why in [
        (NAME, finished, "is a backup of 'shop', finished at"),
        ("other", begun, "is the beginning of another collection's backup: its name is 'shop', not 'other'"),
        (NAME, full, "is not empty; name a new folder"),
        (NAME, tmp_path / "a.tar", "exists; give the backup another name"),
    ]:
        before = contents()
        with pytest.raises(BackupError, match=why):
            await Save(here, name, path).run()
        assert contents() == before
    next(begun.glob("part-*")).write_bytes(b"damaged")
    with pytest.raises(BackupError, match=r"part-\d+.parquet has 7 bytes"):
        await Save(here, NAME, begun).run()


async def test_an_empty_collection_has_a_backup_too(there, tmp_path):
    await there.create_collection("empty", dimension=4, fingerprint="f", model="toy")
    said = await Save(there, "empty", tmp_path / "b").run()
    assert (said.parts, said.settings["model"]) == ((), "toy")


@pytest.mark.parametrize("name", ["b.zip", "b.tar.gz", "b.TGZ", "b.parquet"])
async def test_a_folder_is_not_called_like_another_kind_of_file(here, tmp_path, name):
    with pytest.raises(BackupError, match=r"a folder, or a file whose name ends in \.tar, and no \.\w+$"):
        await Save(here, NAME, tmp_path / name).run()
    assert not (tmp_path / name).exists()


async def test_a_tar_file_may_have_capitals_and_a_folder_any_other_dot(here, tmp_path):
    for name in ("B.TAR", "shop.2024-05"):
        await Save(here, NAME, tmp_path / name).run()
        assert len(ids(tmp_path / name)) == 202
    assert (tmp_path / "B.TAR").is_file()
