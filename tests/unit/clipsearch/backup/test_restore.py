"""Restoring: bit for bit, on from where it was stopped, and nothing of what is not whole."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from clipsearch.backup import restore
from clipsearch.backup.archive import Archive
from clipsearch.backup.manifest import BackupError, part_of
from clipsearch.backup.restore import Restore
from clipsearch.backup.save import Save
from clipsearch.client.aio import AsyncClient
from clipsearch.client.errors import ClipSearchError
from clipsearch.client.inputs import Point
from clipsearch.duplicates.groups import duplicates
from tests.unit.clipsearch.backup.conftest import NAME, ODD, Instead, everything, vector
from tests.unit.clipsearch.backup.test_save import Stopped, stopped
from tests.unit.search_service.served import DIMENSION
from tests.waiting import HANGS_S


@pytest.fixture
async def backup(here, tmp_path) -> Path:
    await Save(here, NAME, tmp_path / "backup").run()
    return tmp_path / "backup"


@pytest.mark.parametrize("name", ["folder", "file.tar"])
async def test_another_service_gets_all_of_it_bit_for_bit(here, there, tmp_path, name):
    await Save(here, NAME, tmp_path / name).run()
    done = await Restore(there, tmp_path / name).run()
    assert await everything(there, NAME) == await everything(here, NAME)
    [odd] = await there.get_points(NAME, ["id/ü \0 🚲"])
    assert (odd.payload, odd.has_text) == (ODD, True)
    assert [type(number) for number in odd.payload["integers"]] == [int] * 4
    before, after = await here.get_collection(NAME), await there.get_collection("goods")
    assert after.options() == before.options()
    assert (after.model, after.fingerprint, after.hnsw_m) == ("fake", "fake-1", 24)
    assert (done.points, done.already, done.aliases, done.taken) == (202, 0, ("goods",), {})


async def test_what_is_told_of_its_progress_ends_at_all_points(there, backup, monkeypatch):
    monkeypatch.setattr(restore, "_BATCH", 2)  # several batches a part, and so several calls at once
    told: list[tuple[int, int]] = []

    def tell(step: str, done: int, total: int) -> None:
        if step == "restoring":
            told.append((done, total))

    await Restore(there, backup, on_progress=tell).run()
    assert told == sorted(told)
    assert told[-1] == (202, 202)


async def test_a_run_that_was_stopped_goes_on(here, there, backup):
    def stop(step: str, done: int, total: int) -> None:
        if step == "restoring" and done > 100:
            raise Stopped

    with pytest.raises(Stopped):
        await Restore(there, backup, on_progress=stop).run()
    halfway = await there.count(NAME)
    assert 100 < halfway < 202
    wrote: list[int] = []

    async def counted(collection, points, **options):
        wrote.append(len(points))
        return await there.upsert(collection, points, **options)

    done = await Restore(Instead(there, upsert=counted), backup).run()
    assert (done.points, done.already) == (202, halfway)
    assert sum(wrote) < 202 - halfway + 32, "but for the parts under way nothing is sent again"
    assert await everything(there, NAME) == await everything(here, NAME)
    assert (await Restore(there, backup).run()).already == 202


async def test_a_run_that_was_stopped_while_a_point_still_had_a_stand_in_goes_on(here, there, backup):
    """A point without vectors is written with one, which is then removed."""

    async def stop(*_, **__):
        raise Stopped

    with pytest.raises(Stopped):
        await Restore(Instead(there, delete_vectors=stop), backup).run()
    [standing_in] = await there.get_points(NAME, ["p5"])
    assert standing_in.has_image
    await Restore(there, backup).run()
    assert await everything(there, NAME) == await everything(here, NAME)


async def test_a_point_that_somebody_else_writes_meanwhile_keeps_its_vector(there, backup):
    mine = Point("p5", image_vector=vector(1), payload={"n": 5})

    async def overtaken(collection, points, **options):
        results = await there.upsert(collection, points, **options)
        if mine.id in [point.id for point in points]:
            await there.upsert(collection, [mine])
        return results

    with pytest.raises(BackupError, match="'p5' is not as in the backup"):
        await Restore(Instead(there, upsert=overtaken), backup).run()
    [kept] = await there.get_points(NAME, [mine.id])
    assert kept.has_image


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def said(backup: Path) -> dict:
    return json.loads((backup / "manifest.json").read_text())


def say(backup: Path, **changed: object) -> None:
    """Changes the manifest, with the right checksum."""
    told = said(backup) | changed
    told.pop("sha256", None)
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.sha256(text.encode()).hexdigest()
    (backup / "manifest.json").write_text(json.dumps({**told, "sha256": digest}))


def swap(backup: Path) -> None:
    """The first part becomes one of other columns, under a right checksum."""
    import pyarrow as pa
    from pyarrow import parquet

    file = backup / "part-000000.parquet"
    parquet.write_table(pa.table({"id": ["a"]}), file)
    with Archive(backup) as archive:
        parts = archive.manifest().parts
    new = part_of(file.name, 1, file.read_bytes())
    parts = [{name: getattr(part, name) for name in part.__slots__} for part in (new, *parts[1:])]
    say(backup, parts=parts)


def cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def packed(backup: Path, share: float) -> None:
    """The backup as a tar file that ends too early."""
    made = backup.with_suffix(".tar")
    with tarfile.open(made, "w") as tar:
        for file in sorted(backup.iterdir()):
            tar.add(file, file.name)
    cut(made, share)
    shutil.rmtree(backup)
    made.rename(backup)


DAMAGE = [
    (lambda b: cut(b / "part-000001.parquet", 0.5), "part-000001.parquet has "),
    (lambda b: flip(b / "part-000001.parquet", 700), "part-000001.parquet does not have its checksum"),
    (lambda b: (b / "part-000002.parquet").unlink(), "is not whole: part-000002.parquet is missing"),
    (lambda b: (b / "manifest.json").unlink(), "is no backup: there is no manifest.json in it"),
    (lambda b: cut(b / "manifest.json", 0.7), "is damaged: manifest.json is no JSON"),
    (lambda b: flip(b / "manifest.json", -30), "is damaged: manifest.json does not have its checksum"),
    (lambda b: (b / "manifest.json").write_text('{"format": 1}'), "is no backup of clipsearch"),
    (lambda b: (b / "manifest.json").write_text("[]"), "is no backup of clipsearch"),
    (lambda b: say(b, version=2), "has the format 2, this version reads 1"),
    (
        lambda b: say(b, settings={**said(b)["settings"], "colour": 1}),
        "a setting that this version does not know: .*colour",
    ),
    (lambda b: say(b, parts=[said(b)["parts"][0] | {"file": "../x"}]), "names '../x', which is no file"),
    (lambda b: say(b, finished=""), "is not finished; run the backup again"),
    (swap, "part-000000.parquet is no part of this backup: it has other columns"),
    (lambda b: packed(b, 0.5), "is (damaged: it ends|not whole)"),
    (lambda b: packed(b, 0.001), "is no backup: neither a folder nor a tar file"),
    (shutil.rmtree, "there is no "),
]


async def test_what_is_not_whole_is_refused_before_anything_is_written(here, there, backup, tmp_path):
    for damage, why in DAMAGE:
        copy = tmp_path / "copy"
        shutil.copytree(backup, copy)
        damage(copy)
        with pytest.raises(BackupError, match=why):
            await Restore(there, copy).run()
        assert await there.list_collections() == []
        shutil.rmtree(copy) if copy.is_dir() else copy.unlink(missing_ok=True)
    await stopped(here, tmp_path / "begun")
    with pytest.raises(BackupError, match="is not finished"):
        await Restore(there, tmp_path / "begun").run()


async def test_a_collection_that_holds_anything_else_is_left_as_it_is(here, there, backup):
    space = {"dimension": DIMENSION, "fingerprint": "fake-1"}
    await there.create_collection("more", **space)
    await there.upsert("more", [Point("mine", image_vector=vector(1))])
    await there.create_collection("differs", **space)
    await there.upsert("differs", [Point("p3", image_vector=vector(3), payload={"n": 3, "mine": True})])
    await there.create_collection("foreign", dimension=DIMENSION, fingerprint="another")
    await there.create_collection("linked", **space)
    await there.set_successor("linked", "more")
    await there.update_alias("alias", "foreign")
    for name, why in [
        ("more", "'more' is not empty: 1 of its points are not in the backup"),
        ("differs", "'differs' is not empty: 'p3' is not as in the backup"),
        ("foreign", "of another model \\(another, not fake-1\\)"),
        ("linked", "'linked' has the successor 'more'"),
        ("alias", "'alias' is an alias of 'foreign'"),
    ]:
        before = [(c.name, c.points, c.aliases) for c in await there.list_collections()]
        with pytest.raises(BackupError, match=why):
            await Restore(there, backup, to=name).run()
        assert [(c.name, c.points, c.aliases) for c in await there.list_collections()] == before


async def test_an_empty_collection_keeps_its_settings_and_a_taken_alias_stays(here, there, backup):
    await there.create_collection("plain", dimension=DIMENSION, fingerprint="fake-1", hnsw_m=8)
    await there.create_collection("other", dimension=DIMENSION, fingerprint="fake-1")
    await there.update_alias("goods", "other")
    done = await Restore(there, backup, to="plain").run()
    assert (done.collection.name, done.collection.hnsw_m, done.collection.points) == ("plain", 8, 202)
    assert (done.aliases, done.taken) == ((), {"goods": "other"})
    assert (await there.get_collection("goods")).name == "other"


async def test_what_somebody_changes_meanwhile_is_not_called_restored(here, there, backup):
    async def changed(collection, points, **options):
        results = await there.upsert(collection, points, **options)
        await there.update_payload(collection, [points[0].id], set={"mine": True})
        return results

    with pytest.raises(BackupError, match=r"is not what was backed up: .* is not as in the backup"):
        await Restore(Instead(there, upsert=changed), backup).run()


async def test_what_the_service_does_not_take_is_named(here, there, backup):
    async def strict(collection, points, **options):
        refused = ClipSearchError("INVALID_ARGUMENT", "9 bytes, at most 8", field="points[0].payload")
        results = await there.upsert(collection, points, **options)
        return [replace(one, error=refused) if one.id == "p9" else one for one in results]

    with pytest.raises(BackupError, match=r"'p9' cannot be written: .*9 bytes, at most 8; once the service"):
        await Restore(Instead(there, upsert=strict), backup).run()


async def test_a_service_that_is_not_there_is_told_without_waiting_for_it(backup, tmp_path):
    async with AsyncClient("127.0.0.1:1") as away:
        for job in (
            Save(away, NAME, tmp_path / "other").run(),
            Restore(away, backup).run(),
            anext(duplicates(away, NAME, "image", 0.9)),
        ):
            with pytest.raises(ClipSearchError) as refused:
                await asyncio.wait_for(job, HANGS_S)
            assert refused.value.reason == "SERVER_UNREACHABLE"
