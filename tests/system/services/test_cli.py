"""The command line as a user types it, against real services."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from clipsearch import Client, Point
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


def test_vectors_are_indexed_and_a_checkpoint_of_other_work_is_refused(clipsearch, indexed, tmp_path):
    np.save(tmp_path / "v.npy", np.eye(4, 512, dtype=np.float16))
    (tmp_path / "ids.txt").write_text("a\nb\nc\nd\n")
    words = ("index", str(tmp_path / "v.npy"), "--ids", str(tmp_path / "ids.txt"), "--side", "text")
    noted = ("--checkpoint", str(tmp_path / "load.json"), "--json")
    refused = clipsearch(*words, "-c", "plain")
    assert refused.returncode == 1
    assert "there is no collection 'plain', and vectors do not say" in refused.stderr.replace("\n", " ")
    done = clipsearch(*words, "-c", "plain", "--fingerprint", "mine", *noted)
    assert json.loads(done.stdout)["indexed"] == 4
    assert clipsearch("collections", "delete", "plain", "--yes").returncode == 0
    foreign = clipsearch(*words, "-c", "images", *noted)
    assert foreign.returncode == 1
    assert "checkpoint of another collection: its collection is 'plain'" in foreign.stderr


def test_a_collection_is_backed_up_and_restored_beside_itself(clipsearch, indexed, tmp_path):
    file = tmp_path / "images.tar"
    told = json.loads(clipsearch("backup", "images", str(file), "--json").stdout)
    assert (told["points"], told["collection"]) == (4, "images")
    again = clipsearch("backup", "images", str(file))
    assert (again.returncode, "exists; give the backup another name" in again.stderr) == (1, True)
    done = clipsearch("restore", str(file), "--to", "restored")
    assert done.returncode == 0, done.stderr
    assert "4 points in restored, 0 of them there already" in done.stderr
    found = [clipsearch("search", "a cat", "-c", name, "--json").stdout for name in ("images", "restored")]
    hits = [[(hit["id"], hit["score"]) for hit in json.loads(one)["hits"]] for one in found]
    assert hits[0] == hits[1]
    assert hits[0]


def test_duplicates_are_told_a_line_a_group_and_can_be_deleted(clipsearch, indexed, search, tmp_path):
    with Client(search.address) as client:
        client.create_collection("copies", dimension=3, fingerprint="f")
        near = [Point(f"a{n}", image_vector=[1, 0, n / 100]) for n in range(4)]
        client.upsert("copies", [*near, Point("b", image_vector=[0, 1, 0])])
        page = tmp_path / "page.html"
        done = clipsearch("duplicates", "copies", "--above", "0.99", "--json", "--html", str(page))
        assert done.returncode == 0, done.stderr
        [group] = map(json.loads, done.stdout.splitlines())
        ids = [point["id"] for point in group["points"]]
        assert (group["size"], sorted(ids)) == (4, ["a0", "a1", "a2", "a3"])
        assert "1 group of points" in page.read_text()
        others = clipsearch("duplicates", "copies", "--above", "0.99", "--ids").stdout.split()
        assert others == ids[1:]
        assert clipsearch("delete", *others, "-c", "copies", "--yes").returncode == 0
        assert {point.id for point in client.list_points("copies")} == {ids[0], "b"}
    none = clipsearch("duplicates", "copies")
    assert (none.returncode, none.stdout) == (0, "")
    assert "0 groups" in none.stderr


def test_a_collection_is_made_with_its_payload_indexes(clipsearch):
    made = clipsearch("collections", "create", "made", "--index", "shop=tenant", "--index", "price=float")
    assert made.returncode == 0, made.stderr
    told = json.loads(clipsearch("collections", "show", "made", "--json").stdout)
    assert told["payload_indexes"] == {"shop": "tenant", "price": "float"}
    wrong = clipsearch("collections", "create", "other", "--index", "shop=tenants")
    assert (wrong.returncode, "keyword, tenant, integer" in wrong.stderr) == (2, True)


def test_what_is_found_is_printed_with_its_payload_and_weak_matches_marked(clipsearch, indexed):
    found = json.loads(clipsearch("search", "a cat", "--json").stdout)
    assert found["hits"][0]["payload"]["name"] == "chelsea.png"
    assert not found["hits"][0]["weak"]
    assert found["hits"][-1]["weak"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("search", "a cat", "--collection", "nowhere"), "collection 'nowhere' does not exist"),
        (("search", "a cat", "--filter", "folder"), "'folder' is no filter"),
        (("collections", "create", "images"), "exists already"),
        (("search", "a cat", "--server", "127.0.0.1:1"), "cannot reach the search service at 127.0.0.1:1"),
        (("health", "127.0.0.1:1", "--timeout", "1"), "127.0.0.1:1"),
    ],
)
def test_an_error_is_one_clear_line_and_exit_code_1(clipsearch, indexed, words, complaint):
    done = clipsearch(*words)
    assert done.returncode == 1
    assert complaint in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
