"""Pictures in a folder: which are found, what they are called, how they are cut into batches."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from clipsearch.sources import batches, find_pictures, picture_id, read_picture


def test_pictures_are_found_at_any_depth_and_nothing_else(tmp_path: Path):
    for name in ("b.JPG", "a/c.png", "a/deep/d.webp", "notes.txt", ".hidden.jpg", ".git/e.jpg", "jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "loop").symlink_to(tmp_path)
    found = [path.relative_to(tmp_path).as_posix() for path in find_pictures(tmp_path)]
    assert found == ["b.JPG", "a/c.png", "a/deep/d.webp"]


def test_equal_bytes_have_one_id_whatever_they_are_called(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"same")
    first, second = read_picture(tmp_path / "a.jpg"), read_picture(tmp_path / "b.jpg")
    assert first.id == second.id == picture_id(b"same")
    assert len(first.id) == 32
    assert first.payload["name"] == "a.jpg"
    assert first.payload["bytes"] == 4
    assert first.payload["path"] == str(tmp_path / "a.jpg")


def test_a_file_name_that_is_no_text_still_travels(tmp_path):
    raw = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
    Path(os.fsdecode(raw)).write_bytes(b"x")
    (path,) = find_pictures(tmp_path)
    assert read_picture(path).payload["name"] == "caf\N{REPLACEMENT CHARACTER}.jpg"


@settings(max_examples=50)
@given(
    sizes=st.lists(st.integers(0, 60), max_size=20), most=st.integers(1, 6), most_bytes=st.integers(1, 100)
)
def test_batches_keep_order_and_bounds(tmp_path_factory, sizes, most, most_bytes):
    folder = tmp_path_factory.mktemp("files")
    paths = []
    for number, size in enumerate(sizes):
        paths.append(folder / f"{number}.jpg")
        paths[-1].write_bytes(b"x" * size)
    cut = list(batches(paths, most, most_bytes))
    assert [path for batch in cut for path in batch] == paths
    for batch in cut:
        assert 1 <= len(batch) <= most
        assert len(batch) == 1 or sum(path.stat().st_size for path in batch) <= most_bytes
