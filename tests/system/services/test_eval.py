"""`clipsearch eval` on photographs, against real services: its figures, what it refuses, its own services."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipsearch import Client, EncoderClient, Point
from tests import processes
from tests.quality.photographs import SAID

pytestmark = pytest.mark.slow

CROPS = 8


@pytest.fixture(scope="module")
def folder(photos, tmp_path_factory) -> Path:
    """The photographs with a caption beside each, and the same as a file of queries."""
    folder = tmp_path_factory.mktemp("photographs")
    lines = []
    for photo in photos:
        shutil.copy(photo, folder / photo.name)
        (folder / photo.name).with_suffix(".txt").write_text(f"{SAID[photo.stem][0]}\nby somebody\n")
        lines.append({"text": SAID[photo.stem][1], "relevant": [photo.name]})
    (folder / "queries.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    return folder


@pytest.fixture(scope="module")
def clipsearch(search, encoder, folder, tmp_path_factory):
    """Runs the command in this process, in front of a collection of the photographs."""
    servers = {"CLIPSEARCH_SERVER": search.address, "CLIPSEARCH_ENCODER": encoder.address}
    done = processes.clipsearch("index", str(folder), **servers)
    assert done.returncode == 0, done.stderr

    def run(*words: str):
        return processes.clipsearch_here(*words, **servers)

    return run


def evaluated(clipsearch, out: Path, *words: str) -> dict:
    done = clipsearch("eval", *words, "--out", str(out), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert json.loads((out / "eval.json").read_text()) == told
    assert "<svg" not in (out / "eval.html").read_text()
    return told


@pytest.mark.parametrize(("words", "which"), [(("queries.jsonl",), 1), (("--made-of", "captions"), 0)])
def test_recall_at_1_is_what_ten_lines_compute(clipsearch, folder, photos, encoder, tmp_path, words, which):
    words = [str(folder / word) if word.endswith(".jsonl") else word for word in words]
    told = evaluated(clipsearch, tmp_path, *words, "--target", "image")

    with EncoderClient(encoder.address) as client:
        images = client.encode_images(photos)
        texts = client.encode_texts([SAID[photo.stem][which] for photo in photos])
    first = (texts @ images.T).argmax(axis=1)
    recall_at_1 = np.mean(first == np.arange(len(photos)))

    assert [row["search"] for row in told["rows"]] == ["exact", "default"]
    for row in told["rows"]:
        figure = row["measures"]["recall@1"]
        assert figure["mean"] == pytest.approx(recall_at_1, abs=1e-6)
        assert 0 <= figure["low"] <= figure["mean"] <= figure["high"] <= 1
        assert (row["queries"], row["points"], row["bytes_a_point"]) == (len(photos), len(photos), 2048)
    assert 0 < recall_at_1 < 1, "or it would be right by chance"
    assert told["rows"][1]["same"] == 1


def test_an_image_that_asks_is_no_answer_to_itself(clipsearch, folder, tmp_path):
    left, right = "motorcycle_left.png", "motorcycle_right.png"
    queries = folder / "images.csv"
    queries.write_text(f"image,relevant\n{left},{right}\n{right},{folder / left}\n")
    told = evaluated(clipsearch, tmp_path, str(queries), "--k", "1")
    assert [row["measures"]["recall@1"]["mean"] for row in told["rows"]] == [1, 1]


def test_what_is_below_its_bound_ends_with_1_and_is_named(clipsearch, folder, tmp_path):
    words = ("eval", str(folder / "queries.jsonl"), "--out", str(tmp_path), "--ef", "64")
    done = clipsearch(*words, "--fail-below", "recall@1=1", "--fail-below", "recall@10=0.01")
    assert done.returncode == 1
    assert "below what was asked: images, ef 64: recall@1 0." in done.stderr
    assert "recall@10 " not in done.stderr
    assert "no index yet" in done.stderr
    assert "recall@10" in done.stdout


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (
            '{"text": "a", "relevant": "nobody.png"}',
            "'nobody.png' is neither the id of a point in 'images' nor",
        ),
        ('{"text": "a", "relevant": []}', "line 2: relevant: names no right answer"),
        ('{"text": "a", "image": "b", "relevant": "c"}', "line 2: has text and image, one is needed"),
    ],
)
def test_a_wrong_file_is_one_clear_line(clipsearch, tmp_path, line, complaint):
    (tmp_path / "wrong.jsonl").write_text('{"text": "a cat", "relevant": "chelsea.png"}\n' + line)
    done = clipsearch("eval", str(tmp_path / "wrong.jsonl"), "--out", str(tmp_path / "out"))
    assert done.returncode == 1
    assert f"error: {tmp_path}/wrong.jsonl, line 2:" in done.stderr
    assert complaint in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_name_that_two_images_have_is_refused(clipsearch, search, tmp_path):
    with Client(search.address) as client:
        client.create_collection("twins")
        client.upsert("twins", [Point(id, text=id, payload={"name": "a.jpg"}) for id in ("one", "two")])
    (tmp_path / "q.jsonl").write_text('{"text": "a", "relevant": "one"}\n{"text": "b", "relevant": "a.jpg"}')
    done = clipsearch("eval", str(tmp_path / "q.jsonl"), "-c", "twins", "--out", str(tmp_path))
    assert done.returncode == 1
    assert "2 points of 'twins' have an image called 'a.jpg'" in done.stderr


def test_models_compressions_and_beams_are_compared_by_services_of_its_own(photos, starter_bundle, tmp_path):
    random = np.random.default_rng(3)
    for photo in photos:
        (tmp_path / "crops" / photo.stem).mkdir(parents=True)
        with Image.open(photo) as opened:
            image = opened.convert("RGB")
        for number in range(CROPS):
            left, top = (int(random.integers(0, side - 128)) for side in image.size)
            crop = image.crop((left, top, left + 128, top + 128))
            crop.save(tmp_path / "crops" / photo.stem / f"{number}.png")
    done = processes.clipsearch(
        "eval", "--made-of", "folders", "--source", str(tmp_path / "crops"), "--model", str(starter_bundle),
        "--quantization", "none,binary", "--ef", "4,256", "--out", str(tmp_path), "--json",
        **processes.SMALL_ENCODER,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    rows = {(row["quantization"], row["search"]): row for row in told["rows"]}
    assert list(rows) == [
        ("none", "exact"), ("none", "ef 4"), ("none", "ef 256"), ("binary", "ef 4"), ("binary", "ef 256"),
    ]  # fmt: skip
    for (quantization, _), row in rows.items():
        assert (row["precision"], row["queries"]) == ("fp32/int8", len(photos))
        assert row["indexed_share"] > 0.5, "or neither a beam nor a compression is measured"
        assert row["bytes_a_point"] == (2048 if quantization == "none" else 64)
        assert row["memory_bytes"] > 50e6
        assert 0.3 < row["measures"]["recall@10"]["mean"] <= 1
        assert row["same"] is None or 0.5 < row["same"] <= 1
    # A beam as wide as the collection sees all of it.
    assert rows[("none", "ef 256")]["same"] > 0.99
