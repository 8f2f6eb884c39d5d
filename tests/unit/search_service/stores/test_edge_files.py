from __future__ import annotations

import os

import pytest

from clipsearch.serving.service import StartError
from search_service.stores.edge import files


@pytest.fixture
def shard(tmp_path):
    folder = tmp_path / "shard.1"
    (folder / "segments" / "a").mkdir(parents=True)
    (folder / "segments" / "a" / "matrix.dat").write_bytes(b"vectors" * 1000)
    with (folder / "segments" / "a" / "page_0.dat").open("wb") as file:
        file.write(b"start")
        file.seek(8 << 20)
        file.write(b"middle")
        file.truncate(16 << 20)
    (folder / "empty").touch()
    return folder


def test_a_copied_shard_holds_the_same_and_stays_sparse(shard, tmp_path):
    copy = tmp_path / "shard.2"
    files.copy_shard(shard, copy)
    originals = sorted(path for path in shard.rglob("*") if path.is_file())
    assert len(originals) == 3
    for path in originals:
        assert (copy / path.relative_to(shard)).read_bytes() == path.read_bytes()
    page = copy / "segments" / "a" / "page_0.dat"
    assert page.stat().st_blocks * 512 < 1 << 20


def test_a_copy_shares_only_what_is_written_once(shard, tmp_path):
    copy = tmp_path / "shard.2"
    files.copy_shard(shard, copy)
    assert (copy / "segments/a/matrix.dat").stat().st_ino == (shard / "segments/a/matrix.dat").stat().st_ino
    (copy / "segments/a/page_0.dat").write_bytes(b"changed")
    assert (shard / "segments/a/page_0.dat").read_bytes().startswith(b"start")


def test_sizes_count_blocks_and_not_holes(shard):
    assert files.disk_bytes(shard) < 1 << 20
    assert files.disk_bytes(shard) >= 7000


def test_a_file_half_written_never_takes_the_place_of_the_old(tmp_path, monkeypatch):
    files.set_current_shard(tmp_path, "shard.1")

    def crash(descriptor):
        raise OSError("power")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(OSError, match="power"):
        files.set_current_shard(tmp_path, "shard.2")
    assert files.current_shard(tmp_path) == "shard.1"


def test_a_locked_directory_is_refused(tmp_path):
    lock = files.open_root(tmp_path)
    with pytest.raises(StartError):
        files.open_root(tmp_path, patience_s=0)
    lock.close()
    files.open_root(tmp_path).close()


def test_a_directory_that_is_let_go_of_in_time_is_taken(tmp_path, monkeypatch):
    lock = files.open_root(tmp_path)
    monkeypatch.setattr(files.time, "sleep", lambda seconds: lock.close())
    files.open_root(tmp_path, patience_s=3600).close()


def test_the_log_can_vanish_while_it_is_synced(tmp_path):
    files.sync_log(tmp_path / "gone")


def test_a_folder_that_is_no_collection_is_left_alone(tmp_path):
    (tmp_path / "collections" / "notes").mkdir(parents=True)
    files.open_root(tmp_path).close()
    assert files.collection_folders(tmp_path) == []
    assert (tmp_path / "collections" / "notes").is_dir()


@pytest.mark.parametrize("kept", ["", "{", "\xff", "[" * 200_000])
def test_a_calibration_that_cannot_be_read_is_none(tmp_path, kept):
    (tmp_path / files.CALIBRATION).write_text(kept, encoding="latin-1")
    assert files.read_calibration(tmp_path) is None
