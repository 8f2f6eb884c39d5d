"""The small images of stored points: found under a root, made in threads, cached."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, TypeVar

from cachetools import LRUCache

from clipsearch.display.thumbnails import MAX_BYTES, NoImage, shrink
from clipsearch.web.errors import WebError
from clipsearch.web.images.roots import Roots

SIZES = (160, 320, 640)
_THREADS = 2
_WAIT_S = 20.0
_LOOK_S = 2.0
_CACHED_BYTES = 64 * 1024 * 1024

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class SmallImage:
    """A WebP; `etag` changes with the file."""

    etag: str
    data: bytes


class Images:
    """Reads images under the roots, at most two at a time. As many wait as the server has connections."""

    def __init__(self, roots: Roots) -> None:
        self._roots = roots
        self._cache: LRUCache[str, bytes] = LRUCache(_CACHED_BYTES, getsizeof=len)
        self._cache_lock = threading.Lock()
        self._making = ThreadPoolExecutor(_THREADS, thread_name_prefix="images")
        # Of their own, so that no search waits for images to be made.
        self._looking = ThreadPoolExecutor(_THREADS, thread_name_prefix="paths")

    def close(self) -> None:
        """Forgets the work that has not begun."""
        self._making.shutdown(wait=False, cancel_futures=True)
        self._looking.shutdown(wait=False, cancel_futures=True)

    async def shown(self, paths: Sequence[object]) -> frozenset[object]:
        """Those of the paths that name a file under a root. None, if the disk does not tell in time."""

        def look() -> frozenset[object]:
            return frozenset(path for path in paths if self._roots.find(path) is not None)

        try:
            async with asyncio.timeout(_LOOK_S):
                return await asyncio.get_running_loop().run_in_executor(self._looking, look)
        except TimeoutError:
            return frozenset()

    async def small(self, path: object, edge: int) -> SmallImage:
        """Raises WebError: 404 where there is no image to show, 504 where there is no time."""
        return await self._in_thread(partial(self._small, path, edge))

    async def whole(self, path: object) -> bytes:
        """The bytes of the file, for the encoder; raises as `small` does."""
        return await self._in_thread(partial(self._whole, path))

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        try:
            async with asyncio.timeout(_WAIT_S):
                return await asyncio.get_running_loop().run_in_executor(self._making, work)
        except TimeoutError:
            raise WebError(504, "DEADLINE_EXCEEDED", "the disk or the image takes too long") from None

    def _small(self, path: object, edge: int) -> SmallImage:
        with self._opened(path) as (file, about):
            # The key holds all that the result depends on, so a file that changes gets another.
            stamp = f"{about.st_mtime_ns} {about.st_size} {edge} ".encode()
            key = hashlib.sha256(stamp + os.fsencode(str(path))).hexdigest()
            with self._cache_lock:
                made = self._cache.get(key)
            if made is None:
                try:
                    made = shrink(file.read(MAX_BYTES + 1), edge)
                except NoImage as reason:
                    raise _none(f"the file is no image that can be shown ({reason})") from None
                with self._cache_lock:
                    self._cache[key] = made
        return SmallImage(f'"{key[:32]}"', made)

    def _whole(self, path: object) -> bytes:
        with self._opened(path) as (file, _):
            return file.read(MAX_BYTES + 1)

    @contextmanager
    def _opened(self, path: object) -> Iterator[tuple[BinaryIO, os.stat_result]]:
        try:
            with self._roots.open(path) as file:
                about = os.fstat(file.fileno())
                if about.st_size > MAX_BYTES:
                    raise _none(f"the file has {about.st_size} bytes, the limit is {MAX_BYTES}")
                yield file, about
        except OSError:
            raise _none("the point names no file under a folder that is served here") from None


def _none(message: str) -> WebError:
    return WebError(404, "IMAGE_NOT_FOUND", message)
