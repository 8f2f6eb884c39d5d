"""Pictures in a folder: which are found, and what is kept with them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clipsearch.ingest import PictureFolder
from clipsearch.ingest.points import to_point


def test_pictures_are_found_at_any_depth_and_nothing_else(tmp_path: Path):
    for name in ("b.JPG", "a/c.png", "a/deep/d.webp", "notes.txt", ".hidden.jpg", ".git/e.jpg", "jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "loop").symlink_to(tmp_path)
    found = [item.path.relative_to(tmp_path).as_posix() for item in PictureFolder(tmp_path).items()]
    assert found == ["b.JPG", "a/c.png", "a/deep/d.webp"]


def test_equal_bytes_have_one_id_whatever_they_are_called(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"same")
    first, second = (to_point(item) for item in PictureFolder(tmp_path).items())
    # the first 32 digits of what sha256sum prints; ids must stay what they are from release to release
    assert first.id == second.id == "0967115f2813a3541eaef77de9d9d577"
    assert first.payload["name"] == "a.jpg"
    assert first.payload["bytes"] == 4
    assert first.payload["path"] == str(tmp_path / "a.jpg")


def test_a_file_name_that_is_no_text_still_travels(tmp_path):
    raw = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
    Path(os.fsdecode(raw)).write_bytes(b"x")
    (item,) = PictureFolder(tmp_path).items()
    assert item.payload["name"] == "caf\N{REPLACEMENT CHARACTER}.jpg"


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("drafts", "abe"),
        ("drafts/", "abe"),
        ("**/drafts", "abe"),
        ("**/drafts/*", "abe"),
        ("/drafts", "abce"),
        ("./drafts", "abce"),
        ("{folder}/drafts", "abce"),
        ("sub/drafts", "abde"),
        ("**/sub/drafts", "abde"),
        ("sub/*", "ade"),
        ("sub/*.png", "acde"),
        ("/*.png", "bcde"),
        ("sub/**/*.png", "ade"),
        ("*.gif", "abcd"),
    ],
)
def test_a_pattern_excludes_as_git_would(tmp_path, pattern, left):
    for name in ("a.png", "sub/b.png", "sub/drafts/c.png", "drafts/d.png", "e.gif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    source = PictureFolder(tmp_path, exclude=[pattern.format(folder=tmp_path)])
    assert "".join(sorted(item.path.stem for item in source.items())) == left
    assert not any("nothing is excluded" in said for said in source.remarks())


def test_a_pattern_that_excludes_nothing_is_named(tmp_path):
    (tmp_path / "a.gif").touch()
    (tmp_path / "b.png").touch()
    source = PictureFolder(tmp_path, exclude=["*.GIF", "", "*.gif"])
    source.prepare()
    assert "nothing is excluded by '*.GIF', ''" in source.remarks()
