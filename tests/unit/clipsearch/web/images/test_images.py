"""Small pictures of points: made in threads, kept, made anew when the file changes."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from clipsearch.web.errors import WebError
from clipsearch.web.images import images as module
from clipsearch.web.images.images import Images
from clipsearch.web.images.roots import Roots
from tests.unit.clipsearch.web.fakes import picture
from tests.waiting import until


@pytest.fixture
def pictures(root):
    made = Images(Roots([root]))
    yield made
    made.close()


@pytest.fixture
def path(root) -> Path:
    """A picture in the folder that is served."""
    picture(root / "a.png")
    return root / "a.png"


@pytest.fixture
def shrunk(monkeypatch) -> list[int]:
    """The sizes that pictures were shrunk to."""
    sizes = []
    shrink = module.shrink

    def counted(data, edge):
        sizes.append(edge)
        return shrink(data, edge)

    monkeypatch.setattr(module, "shrink", counted)
    return sizes


async def test_a_picture_is_made_once_for_each_size(pictures, path, shrunk):
    first = await pictures.small(str(path), 160)
    assert await pictures.small(str(path), 160) == first
    large = await pictures.small(str(path), 640)
    assert shrunk == [160, 640]
    assert large.etag != first.etag


async def test_a_file_that_changes_is_looked_at_again(pictures, path, shrunk):
    first = await pictures.small(str(path), 160)
    picture(path, size=(301, 200))
    second = await pictures.small(str(path), 160)
    os.utime(path, (5, 5))
    third = await pictures.small(str(path), 160)
    assert len({first.etag, second.etag, third.etag}) == 3
    assert len(shrunk) == 3


async def test_a_file_that_vanishes_is_not_shown_from_the_cache(pictures, path):
    await pictures.small(str(path), 160)
    path.unlink()
    with pytest.raises(WebError) as raised:
        await pictures.small(str(path), 160)
    assert raised.value.status == 404


async def test_a_file_of_enormous_size_is_not_read(pictures, root):
    path = root / "a.png"
    with path.open("wb") as file:
        file.truncate(2**40)
    for ask in (pictures.small(str(path), 160), pictures.whole(str(path))):
        with pytest.raises(WebError) as raised:
            await ask
        assert raised.value.status == 404
        assert str(2**40) in raised.value.message


async def test_no_message_tells_where_a_file_is(pictures, root):
    (root / "notes.png").write_text("no picture")
    for path in (root / "notes.png", root / "missing.png"):
        with pytest.raises(WebError) as raised:
            await pictures.small(str(path), 160)
        assert str(root) not in raised.value.message


async def test_no_disk_and_no_picture_is_touched_on_the_loop(pictures, path, monkeypatch):
    threads = set()

    def watched(function):
        def call(*args):
            threads.add(threading.current_thread())
            return function(*args)

        return call

    for name in ("find", "open"):
        monkeypatch.setattr(Roots, name, watched(getattr(Roots, name)))
    monkeypatch.setattr(module, "shrink", watched(module.shrink))
    await pictures.small(str(path), 160)
    await pictures.whole(str(path))
    await pictures.shown([str(path)])
    assert threads
    assert threading.current_thread() not in threads


async def test_some_wait_and_searches_do_not(pictures, path, root, monkeypatch):
    go = threading.Event()
    monkeypatch.setattr(module, "shrink", lambda data, edge: go.wait(60) and b"")
    waiting = [asyncio.create_task(pictures.small(str(path), 160)) for _ in range(100)]
    await until(lambda: pictures._making._work_queue.qsize() == 98)
    assert await pictures.shown([str(path), str(root / "missing"), None, "/etc/passwd"]) == {str(path)}
    for task in waiting[2:]:  # their browsers have gone: these are never made
        task.cancel()
    go.set()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert sum(not task.cancelled() for task in waiting) == 2


async def test_a_disk_that_hangs_is_not_waited_for(pictures, path, monkeypatch):
    go = threading.Event()
    monkeypatch.setattr(module, "_WAIT_S", 0.1)
    monkeypatch.setattr(module, "_LOOK_S", 0.1)
    monkeypatch.setattr(Roots, "find", lambda self, path: go.wait(60) and None)
    with pytest.raises(WebError) as raised:
        await pictures.small("a.png", 160)
    assert raised.value.status == 504
    assert await pictures.shown(["a.png"]) == frozenset()
    go.set()
