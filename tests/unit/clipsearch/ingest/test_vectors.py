"""Ready-made vectors: read in blocks, matched with ids and payload, resumed by a checkpoint."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from clipsearch.ingest import CheckpointError, FlowLimits, Ingest, IngestOptions, SourceError, VectorFile
from clipsearch.ingest import vectors as module
from clipsearch.serving.errors import ResourceExhausted
from tests.unit.clipsearch.ingest.served import DIMENSION

COUNT = 100
OPTIONS = IngestOptions(FlowLimits(first_points=5, most_points=5, most_flights=3), patience_s=0.2)


@pytest.fixture
def matrix() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((COUNT, DIMENSION), dtype=np.float32)


@pytest.fixture
def file(tmp_path: Path, matrix: np.ndarray) -> Path:
    np.save(tmp_path / "v.npy", matrix)
    return tmp_path / "v.npy"


@pytest.fixture
def ids(tmp_path: Path) -> Path:
    (tmp_path / "ids.txt").write_text("".join(f"item {n}\n" for n in range(COUNT)))
    return tmp_path / "ids.txt"


@pytest.mark.parametrize("kind", [np.float32, np.float16, ">f4"])
def test_every_vector_arrives_at_its_id_whatever_the_block(tmp_path, matrix, ids, monkeypatch, kind):
    monkeypatch.setattr(module, "_BLOCK_BYTES", 7 * 4 * DIMENSION)
    np.save(tmp_path / "v.npy", matrix.astype(kind))
    items = list(VectorFile(tmp_path / "v.npy", ids=ids, side="text").items())
    assert [item.id for item in items] == [f"item {n}" for n in range(COUNT)]
    assert np.array_equal([item.text_vector for item in items], matrix.astype(kind).astype(np.float32))
    assert items[0].text_vector.dtype == np.dtype("<f4")
    assert items[0].image_vector is None


async def test_vectors_are_written_with_the_payload_of_a_list_and_their_fingerprint(
    fake, client, tmp_path, file, matrix
):
    seen = set()
    fake.refuse_call = lambda _, request: seen.add(request.fingerprint)
    (tmp_path / "meta.csv").write_text("sku,price\n" + "".join(f"s{n:03},{n}.5\n" for n in range(COUNT)))
    source = VectorFile(file, ids=tmp_path / "meta.csv", id="sku")
    report = await Ingest(client, "things", source, fingerprint="abc").run()
    assert report.indexed == COUNT
    point = fake.stored["s042"]
    assert dict(point.payload) == {"price": 42.5}
    assert np.array_equal(np.frombuffer(point.image_vector.f32, "<f4"), matrix[42])
    assert fake.asked == 0
    assert seen == {"abc"}


async def test_without_ids_equal_vectors_are_one_point(fake, client, file, matrix):
    matrix[50] = matrix[10]
    np.save(file, matrix)
    report = await Ingest(client, "things", VectorFile(file), options=OPTIONS).run()
    assert (report.indexed, report.merged, report.already) == (COUNT - 1, 1, 0)
    assert all(len(id) == 32 for id in fake.stored)


async def load(client, source, checkpoint):
    return await Ingest(client, "things", source, checkpoint=checkpoint, options=OPTIONS).run()


async def stopped_half_way(fake, client, file, ids, checkpoint) -> set[str]:
    """A run whose service goes away after ten calls; what was written."""
    fake.refuse_call = lambda number, _: ResourceExhausted("full", "QUEUE_FULL", 9) if number > 10 else None
    with pytest.raises(Exception, match="full"):
        await load(client, VectorFile(file, ids=ids), checkpoint)
    fake.refuse_call = lambda number, _: None
    assert 0 < len(fake.stored) < COUNT
    return set(fake.stored)


async def test_a_checkpoint_sends_nothing_twice(fake, client, file, ids, tmp_path):
    checkpoint = tmp_path / "c.json"
    before = await stopped_half_way(fake, client, file, ids, checkpoint)
    report = await load(client, VectorFile(file, ids=ids), checkpoint)
    assert (report.indexed, report.already) == (COUNT - len(before), len(before))
    assert len(fake.stored) == COUNT
    assert set(fake.written.values()) == {1}
    assert json.loads(checkpoint.read_text())["finished"] == [[0, COUNT]]


async def test_what_was_lost_since_the_checkpoint_is_sent_again(fake, client, file, ids, tmp_path):
    await load(client, VectorFile(file, ids=ids), tmp_path / "c.json")
    fake.stored.clear()  # the collection was deleted and made anew
    report = await load(client, VectorFile(file, ids=ids), tmp_path / "c.json")
    assert (report.indexed, report.already) == (COUNT, 0)


@pytest.mark.parametrize("changed", ["collection", "vectors", "ids", "side"])
async def test_a_checkpoint_of_other_work_writes_nothing(fake, client, file, ids, tmp_path, matrix, changed):
    checkpoint = tmp_path / "c.json"
    await stopped_half_way(fake, client, file, ids, checkpoint)
    calls, kept = fake.calls, checkpoint.read_bytes()
    side = "image"
    if changed == "collection":
        fake.fingerprint = "0" * 32
    elif changed == "vectors":
        np.save(file, matrix + 1)
    elif changed == "ids":
        ids.write_text(ids.read_text().replace("item 99", "item 100"))
    else:
        side = "text"
    with pytest.raises(CheckpointError, match=r"c\.json is the checkpoint of another"):
        await load(client, VectorFile(file, ids=ids, side=side), checkpoint)
    assert fake.calls == calls
    assert checkpoint.read_bytes() == kept


async def test_a_checkpoint_that_cannot_be_written_stops_the_run_at_once(fake, client, file, tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        await load(client, VectorFile(file), tmp_path / "nowhere/c")
    assert fake.calls == 0


async def test_vectors_of_another_dimension_are_refused_before_the_first_is_sent(fake, client, tmp_path):
    np.save(tmp_path / "v.npy", np.ones((3, DIMENSION + 1), np.float32))
    with pytest.raises(SourceError, match=f"have {DIMENSION + 1} numbers, those of collection 'things'"):
        await Ingest(client, "things", VectorFile(tmp_path / "v.npy")).run()
    assert fake.calls == 0


@pytest.mark.parametrize(
    ("array", "complaint"),
    [
        (np.ones(3, np.float32), r"its shape is \(3,\), it must be \[count, dimension\]"),
        (np.ones((2, 3, 4), np.float32), r"its shape is \(2, 3, 4\)"),
        (np.ones((0, 4), np.float32), r"its shape is \(0, 4\)"),
        (np.ones((2, 3)), "its numbers are float64, not float16 or float32"),
        (np.ones((2, 3), np.float32, order="F"), "stored by columns"),
        (np.array([None, 1]), "no .npy file"),
    ],
)
def test_an_array_of_another_kind_is_told(tmp_path, array, complaint):
    np.save(tmp_path / "v.npy", array)
    with pytest.raises(SourceError, match=complaint):
        VectorFile(tmp_path / "v.npy")


def test_a_file_that_is_no_array_or_cut_short_is_told(tmp_path, file):
    (tmp_path / "x.npy").write_bytes(b"x")
    (tmp_path / "cut.npy").write_bytes(file.read_bytes()[:-1])
    os.mkfifo(tmp_path / "pipe.npy")
    for name, complaint in {
        "x.npy": r"no \.npy file",
        "cut.npy": r"no \.npy file",
        "gone.npy": "No such file",
        "pipe.npy": "a named pipe, not a regular file",
    }.items():
        with pytest.raises(SourceError, match=f"{name}: {complaint}"):
            VectorFile(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("ids.txt", "a\nb\n", r"ids\.txt has 2 ids, .*v\.npy 100 vectors"),
        ("ids.txt", "a\n\nb\n", r"ids\.txt, line 2: empty"),
        ("ids.txt", "x\n" * COUNT, r"id 'x' stands in line 1 and in line 2"),
        ("ids.csv", "id\n" + "a\n" * 2, r"ids\.csv has 2 ids"),
        ("ids.csv", "sku\na\n", r"no column 'id'; columns are sku"),
        ("ids.jsonl", '{"id": "a"}\n{"sku": "b"}\n', r"ids\.jsonl, line 2, column 'id' is missing"),
        ("gone.txt", None, "No such file"),
    ],
)
def test_ids_that_do_not_fit_are_told_before_the_first_is_sent(tmp_path, file, name, content, complaint):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(SourceError, match=complaint):
        VectorFile(file, ids=tmp_path / name).prepare()
