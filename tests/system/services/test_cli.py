"""The command line as a user types it, against real services."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests import processes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pictures(photos: list[Path], tmp_path_factory) -> Path:
    """A folder with some photographs, a copy of one, and two bad files."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "pets").mkdir()
    for path in photos:
        if path.stem in ("coffee", "rocket", "flower"):
            shutil.copy(path, folder / path.name)
        if path.stem == "chelsea":
            shutil.copy(path, folder / "pets" / path.name)
            shutil.copy(path, folder / "pets" / "the same cat.png")
            (folder / "cut.png").write_bytes(path.read_bytes()[:5000])
    (folder / "empty.jpg").touch()
    return folder


@pytest.fixture(scope="module")
def clipsearch(search, encoder):
    """Runs the command; returns the finished process."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        servers = {"CLIPSEARCH_SERVER": search.address, "CLIPSEARCH_ENCODER": encoder.address}
        return processes.clipsearch(*words, **servers)

    return run


@pytest.fixture(scope="module")
def indexed(clipsearch, pictures) -> dict:
    """What `index --json` printed the first time."""
    done = clipsearch("index", str(pictures), "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_index_goes_on_after_bad_files_and_lists_them(indexed):
    assert (indexed["indexed"], indexed["merged"], indexed["already"]) == (4, 1, 0)
    failed = {Path(failure["place"]).name: failure["reason"] for failure in indexed["failures"]}
    assert set(failed) == {"cut.png", "empty.jpg"}
    assert (indexed["total"], indexed["failed"]) == (7, 2)
    assert failed["empty.jpg"] == "the image is empty (0 bytes)"


def test_index_again_encodes_nothing(clipsearch, indexed, pictures):
    again = json.loads(clipsearch("index", str(pictures), "--json").stdout)
    assert (again["indexed"], again["merged"], again["already"]) == (0, 1, 4)


def test_a_list_is_indexed_and_filtered_by_its_typed_columns(clipsearch, pictures, tmp_path):
    rows = tmp_path / "shop.csv"
    rows.write_text(
        "sku,photo,title,price,brand\n"
        f"cup,{pictures / 'coffee.png'},a cup of coffee,7.50,acme\n"
        f"ship,{pictures / 'rocket.jpg'},a rocket,9000,acme\n"
        "tea,,a cup of tea,6,other\n"
        "gone,gone.jpg,,1,acme\n"
    )
    words = ("index", str(rows), "--id", "sku", "--path", "photo", "--text", "title", "-c", "shop")
    failures = tmp_path / "failures.jsonl"
    done = clipsearch(*words, "--failures", str(failures), "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["total"], report["indexed"], report["failed"]) == (4, 3, 1)
    (failure,) = map(json.loads, failures.read_text().splitlines())
    assert (failure["id"], failure["place"]) == ("gone", "shop.csv, line 5")
    filters = ("--filter", "price<20", "--filter", "brand=acme")
    found = clipsearch("search", "something to drink", "-c", "shop", *filters, "--json")
    assert [hit["id"] for hit in json.loads(found.stdout)["hits"]] == ["cup"]
    again = json.loads(clipsearch(*words, "--json").stdout)
    assert (again["indexed"], again["already"]) == (0, 3)


def test_vectors_are_indexed_and_a_checkpoint_of_other_work_is_refused(clipsearch, tmp_path):
    np.save(tmp_path / "v.npy", np.eye(4, dtype=np.float16))
    (tmp_path / "ids.txt").write_text("a\nb\nc\nd\n")
    words = ("index", str(tmp_path / "v.npy"), "--ids", str(tmp_path / "ids.txt"), "--side", "text")
    noted = ("--checkpoint", str(tmp_path / "load.json"), "--json")
    refused = clipsearch(*words, "-c", "plain")
    assert refused.returncode == 1
    assert "there is no collection 'plain', and vectors do not say" in refused.stderr.replace("\n", " ")
    done = clipsearch(*words, "-c", "plain", "--fingerprint", "mine", *noted)
    assert json.loads(done.stdout)["indexed"] == 4
    nowhere = clipsearch(*words, "-c", "nowhere", "--fingerprint", "mine", *noted)
    assert nowhere.returncode == 1
    assert "there is no collection 'nowhere'" in nowhere.stderr
    assert json.loads(clipsearch(*words, "-c", "plain", *noted).stdout)["already"] == 4
    assert clipsearch(*words, "-c", "other", "--fingerprint", "mine").returncode == 0
    foreign = clipsearch(*words, "-c", "other", *noted)
    assert foreign.returncode == 1
    assert "checkpoint of another collection: its collection is 'plain'" in foreign.stderr
    for name in ("plain", "other"):
        clipsearch("collections", "delete", name, "--yes")


def test_search_by_words_and_by_picture(clipsearch, indexed, pictures):
    found = json.loads(clipsearch("search", "a cat", "--json").stdout)
    assert found["hits"][0]["payload"]["name"] == "chelsea.png"
    assert not found["hits"][0]["weak"]
    assert found["hits"][-1]["weak"]
    twin = json.loads(clipsearch("search", "--image", str(pictures / "rocket.jpg"), "--json").stdout)
    assert twin["hits"][0]["payload"]["name"] == "rocket.jpg"
    table = clipsearch("search", "a cat", "--limit", "1")
    assert "chelsea.png" in table.stdout
    assert table.returncode == 0


def test_filters_narrow_the_search(clipsearch, indexed, pictures):
    inside = clipsearch("search", "a cat", "--filter", f"folder={pictures}", "--json")
    names = [hit["payload"]["name"] for hit in json.loads(inside.stdout)["hits"]]
    assert sorted(names) == ["coffee.png", "flower.jpg", "rocket.jpg"]
    bad = clipsearch("search", "a cat", "--filter", "folder")
    assert bad.returncode == 1
    assert "'folder' is no filter" in bad.stderr


def test_classify_names_the_cat(clipsearch, pictures):
    done = clipsearch(
        "classify", str(pictures / "pets" / "chelsea.png"), "--labels", "dog,cat,rocket", "--json"
    )
    assert json.loads(done.stdout)["scores"][0]["label"] == "cat"


def test_collections_can_be_made_listed_aliased_and_deleted(clipsearch):
    assert clipsearch("collections", "create", "shoes", "--index", "price=float").returncode == 0
    assert clipsearch("collections", "alias", "current", "shoes").returncode == 0
    listed = json.loads(clipsearch("collections", "--json").stdout)
    (shoes,) = [c for c in listed if c["name"] == "shoes"]
    assert shoes["aliases"] == ["current"]
    assert shoes["payload_indexes"] == {"price": "float"}
    again = clipsearch("collections", "create", "shoes")
    assert again.returncode == 1
    assert "exists already" in again.stderr
    assert clipsearch("collections", "delete", "shoes", "--yes").returncode == 0


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("search", "a cat", "--collection", "nowhere"), "collection 'nowhere' does not exist"),
        (("search", "a cat", "--server", "127.0.0.1:1"), "cannot reach the search service at 127.0.0.1:1"),
        (("health", "127.0.0.1:1", "--timeout", "1"), "127.0.0.1:1"),
    ],
)
def test_an_error_is_one_clear_line_and_exit_code_1(clipsearch, words, complaint):
    done = clipsearch(*words)
    assert done.returncode == 1
    assert complaint in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
