"""The checkpoint's file: what it says, how large it gets, whom it belongs to."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsearch.ingest import checkpoint as module
from clipsearch.ingest.checkpoint import Checkpoint, CheckpointError
from tests.unit.clipsearch.ingest.served import a_collection

SOURCE = {"list": "a.csv", "sha256": "0" * 64}


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 8))))
def test_ranges_say_what_a_set_of_positions_says(pieces):
    checkpoint, done = Checkpoint(Path("unused"), {}), set()
    for start, length in pieces:
        checkpoint.finish(start, start + length)
        done |= set(range(start, start + length))
    assert {position for position in range(60) if position in checkpoint} == done
    assert sum(stop - start for start, stop in checkpoint.ranges) == len(done)
    for (_, stop), (start, _) in zip(checkpoint.ranges, checkpoint.ranges[1:], strict=False):
        assert stop < start


async def test_what_was_saved_is_read_again_also_by_people(tmp_path):
    checkpoint = Checkpoint.open(tmp_path / "c.json", SOURCE, a_collection())
    checkpoint.finish(0, 10)
    checkpoint.finish(20, 25)
    await checkpoint.save()
    assert Checkpoint.open(tmp_path / "c.json", SOURCE, a_collection()).ranges == [(0, 10), (20, 25)]
    assert [path.name for path in tmp_path.iterdir()] == ["c.json"]
    assert json.loads((tmp_path / "c.json").read_text()) == {
        "version": 1,
        "collection": "shop",
        "fingerprint": "a",
        "source": SOURCE,
        "finished": [[0, 10], [20, 25]],
    }


async def test_a_folder_that_is_not_there_is_told_by_the_name_that_was_given(tmp_path):
    path = tmp_path / "nowhere" / "c.json"
    with pytest.raises(FileNotFoundError) as refused:
        await Checkpoint.open(path, SOURCE, a_collection()).save()
    assert refused.value.filename == str(path)


async def test_many_who_save_at_once_share_a_write(tmp_path, monkeypatch):
    checkpoint = Checkpoint.open(tmp_path / "c.json", SOURCE, a_collection())
    writes = []
    write_whole = module.write_whole

    def counted(*arguments, **options):
        writes.append(1)
        write_whole(*arguments, **options)

    monkeypatch.setattr(module, "write_whole", counted)

    async def one(n: int) -> None:
        checkpoint.finish(n, n + 1)
        await checkpoint.save()
        assert n in Checkpoint.open(tmp_path / "c.json", SOURCE, a_collection())

    await asyncio.gather(*(one(n) for n in range(20)))
    assert len(writes) <= 3


@pytest.mark.parametrize(
    ("source", "collection", "complaint"),
    [
        (SOURCE, {"name": "other"}, r"another collection: its collection is 'shop', not 'other'"),
        (SOURCE, {"fingerprint": "b"}, r"another collection: its fingerprint is 'a', not 'b'"),
        ({**SOURCE, "sha256": "1"}, {}, r"another source: its sha256 is '000.*', not '1'"),
        ({"vectors": "v.npy"}, {}, r"another source: its vectors is None, not 'v.npy'"),
    ],
)
async def test_a_checkpoint_of_other_work_is_refused(tmp_path, source, collection, complaint):
    checkpoint = Checkpoint.open(tmp_path / "c.json", SOURCE, a_collection())
    await checkpoint.save()
    before = (tmp_path / "c.json").read_bytes()
    with pytest.raises(CheckpointError, match=complaint):
        Checkpoint.open(tmp_path / "c.json", source, a_collection(**collection))
    assert (tmp_path / "c.json").read_bytes() == before


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"version": 1}', '{"version": 2, "finished": []}', '{"version": 1, "finished": [[5, 3]]}'],
)
def test_a_damaged_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(CheckpointError, match="no checkpoint of this version"):
        Checkpoint.open(tmp_path / "c.json", SOURCE, a_collection())
