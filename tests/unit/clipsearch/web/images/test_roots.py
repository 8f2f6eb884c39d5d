"""Only regular files under a root are opened, whatever a path says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clipsearch.web.images.roots import Found, Roots


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "secret.txt"
    path.write_text("secret")
    return path


def read(roots: Roots, path: object) -> bytes:
    with roots.open(path) as file:
        return file.read()


def test_files_under_a_root_are_opened_also_through_links(tmp_path, root):
    other, linked = tmp_path / "other", tmp_path / "linked"
    other.mkdir()
    linked.symlink_to(root)
    (root / "deep").mkdir()
    (root / "deep" / "a.png").write_bytes(b"a")
    (root / "link").symlink_to("deep")
    for roots, path in [
        ([other, root], root / "deep" / "a.png"),
        ([root], "deep/a.png"),
        ([root], root / "link" / "a.png"),
        ([linked], linked / "deep" / "a.png"),
    ]:
        assert read(Roots(roots), str(path)) == b"a", path


@pytest.mark.parametrize("name", ["猫.png", "кот ☃.png", "a\nb.png", "%2e%2e.png", "-rf", " .png"])
def test_names_of_all_kinds(root, name):
    (root / name).write_bytes(b"a")
    assert read(Roots([root]), str(root / name)) == b"a"


def test_paths_that_lead_out(root, outside):
    (root / "file-link.png").symlink_to(outside)
    (root / "folder-link").symlink_to(outside.parent)
    roots = Roots([root])
    for path in [
        outside,
        root / ".." / outside.name,
        root / "folder-link" / outside.name,
        root / "file-link.png",
        "/etc/passwd",
        "../" + outside.name,
        f"{root}x/../{outside.name}",
        "/proc/self/environ",
    ]:
        assert roots.find(str(path)) is None, path
        with pytest.raises(FileNotFoundError):
            roots.open(str(path))


def test_a_folder_whose_name_begins_like_a_root_is_not_under_it(tmp_path, root):
    beside = tmp_path / "root-2"
    beside.mkdir()
    (beside / "a.png").write_bytes(b"a")
    assert Roots([root]).find(str(beside / "a.png")) is None


def test_what_is_no_regular_file_is_not_opened(root):
    os.mkfifo(root / "pipe.png")  # would hold up whoever opens it
    (root / "folder.png").mkdir()
    roots = Roots([root])
    for name in ("pipe.png", "folder.png", "missing.png", "pipe.png/x", "."):
        with pytest.raises(FileNotFoundError):
            roots.open(str(root / name))
    with pytest.raises(FileNotFoundError):
        Roots([Path("/dev")]).open("/dev/zero")


@pytest.mark.parametrize("path", [None, 5, "", ["a"], {"a": 1}, "a\0b", "x" * 10_000, "a/" * 3_000, "\ud800"])
def test_what_is_no_path(root, path):
    with pytest.raises(FileNotFoundError):
        Roots([root]).open(path)


def test_links_in_circles(root):
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    assert Roots([root]).find(str(root / "a" / "x.png")) is None


@pytest.mark.parametrize("swapped", ["folder", "file"])
def test_a_link_that_takes_a_name_after_the_look_leads_nowhere(root, outside, monkeypatch, swapped):
    inner = root / "inner"
    inner.mkdir()
    (inner / outside.name).write_bytes(b"harmless")
    roots = Roots([root])
    found = roots.find(str(inner / outside.name))
    assert found == Found(root.resolve(), ("inner", outside.name))
    if swapped == "folder":
        inner.rename(root / "gone")
        inner.symlink_to(outside.parent)
    else:
        (inner / outside.name).unlink()
        (inner / outside.name).symlink_to(outside)
    monkeypatch.setattr(roots, "find", lambda path: found)
    with pytest.raises(OSError, match=r"symbolic|directory"):
        roots.open(str(inner / outside.name))


def test_a_root_must_be_there(tmp_path, outside):
    for missing in (tmp_path / "none", outside):
        with pytest.raises(OSError, match=missing.name):
            Roots([missing])
