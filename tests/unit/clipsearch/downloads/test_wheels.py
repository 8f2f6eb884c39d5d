"""Pinned wheels: fetched once, checked, read without installing. pip is real, its index a folder."""

from __future__ import annotations

import dataclasses
import hashlib
import zipfile

import pytest

from clipsearch.downloads.wheels import Wheel, WheelError, default_cache, fetch, read_member

NAME = "clipsearch_toy-1.0-py3-none-any.whl"


@pytest.fixture
def wheel(tmp_path, monkeypatch) -> Wheel:
    """A wheel in a local index that pip is told of."""
    index = tmp_path / "index"
    index.mkdir()
    with zipfile.ZipFile(index / NAME, "w") as archive:
        archive.writestr("toy/data.txt", "hello")
        archive.writestr(
            "clipsearch_toy-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: clipsearch-toy\nVersion: 1.0\n",
        )
        archive.writestr(
            "clipsearch_toy-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr("clipsearch_toy-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    digest = hashlib.sha256((index / NAME).read_bytes()).hexdigest()
    return Wheel("clipsearch-toy", "1.0", NAME, digest, 1)


def test_a_wheel_is_downloaded_once_and_read(wheel, tmp_path, monkeypatch):
    said: list[str] = []
    path = fetch(wheel, tmp_path / "cache", said.append)
    assert read_member(path, "toy/data.txt") == b"hello"
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "gone"))
    assert fetch(wheel, tmp_path / "cache", said.append) == path
    assert len(said) == 1


def test_another_file_than_the_pinned_one_is_never_kept(wheel, tmp_path):
    other = dataclasses.replace(wheel, sha256="0" * 64)
    with pytest.raises(WheelError, match="pinned is 0000"):
        fetch(other, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_damaged_file_in_the_cache_is_fetched_again(wheel, tmp_path):
    path = fetch(wheel, tmp_path / "cache")
    path.write_bytes(b"damaged")
    assert read_member(fetch(wheel, tmp_path / "cache"), "toy/data.txt") == b"hello"


def test_an_index_without_the_wheel_is_one_clear_error(wheel, tmp_path):
    missing = dataclasses.replace(wheel, version="9.9")
    with pytest.raises(WheelError, match=r"pip could not download clipsearch-toy==9\.9"):
        fetch(missing, tmp_path / "cache")


def test_a_member_that_is_not_there_is_named(wheel, tmp_path):
    with pytest.raises(WheelError, match=r"has no file 'toy/none\.txt'"):
        read_member(tmp_path / "index" / NAME, "toy/none.txt")


def test_the_cache_can_be_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(tmp_path / "mine"))
    assert default_cache() == tmp_path / "mine"
    monkeypatch.delenv("CLIPSEARCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache() == tmp_path / "xdg" / "clipsearch" / "wheels"
