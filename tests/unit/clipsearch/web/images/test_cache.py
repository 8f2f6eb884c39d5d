"""Small pictures on disk: bounded, whole, shared by processes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from clipsearch.web.images.cache import ImageCache, default_folder


def key(name: object) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()


def webp(size: int) -> bytes:
    """As long as a WebP of this size, and as whole."""
    return b"RIFF" + (size - 8).to_bytes(4, "little") + b"WEBP" + bytes(size - 12)


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_what_was_put_is_got(tmp_path):
    cache = ImageCache(tmp_path / "cache")
    assert cache.get(key(1)) is None
    cache.put(key(1), webp(100))
    assert cache.get(key(1)) == webp(100)
    assert (tmp_path / "cache").stat().st_mode & 0o077 == 0


def test_it_is_bounded_and_the_oldest_go_first(tmp_path):
    cache = ImageCache(tmp_path, max_bytes=10_000)
    for number in range(40):
        cache.put(key(number), webp(500))
        os.utime(tmp_path / key(number)[:2] / f"{key(number)}.webp", (number + 1, number + 1))
        cache.get(key(0))  # used again and again
        assert size_of(tmp_path) <= 10_000 * 9 / 8 + 500
    assert cache.get(key(0)) is not None
    assert cache.get(key(1)) is None
    assert cache.get(key(39)) is not None


@pytest.mark.parametrize("left", [b"", webp(100)[:50], b"x" * 100])
def test_a_file_that_a_power_cut_has_left_is_none(tmp_path, left):
    cache = ImageCache(tmp_path)
    cache.put(key(1), webp(100))
    (tmp_path / key(1)[:2] / f"{key(1)}.webp").write_bytes(left)
    assert cache.get(key(1)) is None


def test_what_others_keep_there_stays_and_what_was_never_finished_goes(tmp_path):
    (tmp_path / "ab").mkdir()
    other, begun = tmp_path / "ab" / "diary.txt", tmp_path / "ab" / f".{key(1)}.webp.00000000"
    for path in (other, begun):
        path.write_bytes(bytes(5_000))
        os.utime(path, (1, 1))
    ImageCache(tmp_path, max_bytes=1_000).put(key(2), webp(2_000))
    assert other.exists()
    assert not begun.exists()


def test_a_disk_that_fails_costs_no_answer(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    cache = ImageCache(tmp_path / "file")
    cache.put(key(1), webp(100))
    assert cache.get(key(1)) is None


def test_two_processes_share_it(tmp_path):
    script = """
import sys
from pathlib import Path
from clipsearch.web.images.cache import ImageCache
cache = ImageCache(Path(sys.argv[1]), max_bytes=100_000)
for number in range(400):
    key = f"{number % 60:064x}"
    found = cache.get(key)
    data = b"RIFF" + (4_992).to_bytes(4, "little") + b"WEBP" + bytes(4_988)
    assert found is None or found == data, len(found)
    cache.put(key, data)
"""
    both = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert size_of(tmp_path) <= 100_000 + 2 * (100_000 / 8 + 5_000)
    assert not list(tmp_path.rglob(".*")), "begun and never finished"


def test_its_place(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "clipsearch" / "pictures"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_folder() == Path.home() / ".cache" / "clipsearch" / "pictures"
