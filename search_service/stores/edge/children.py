"""What must come to its end although nobody waits for it any more: child processes, and some jobs.

Every child process of the Edge store inherits the data directory's lock. One that outlived the store
would keep the next one out, and write into folders that are removed or in use.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from clipsearch.serving.errors import Unavailable

T = TypeVar("T")


class Children:
    """The child processes of one store. Whoever starts one ends it; `end` is for those that are left."""

    def __init__(self, lock: int) -> None:
        self._lock = lock  # the descriptor that they inherit
        self._running: list[subprocess.Popen[bytes]] = []
        self._ended = False

    def start(self, module: str, *arguments: str, descriptors: Sequence[int] = ()) -> subprocess.Popen[bytes]:
        """Runs `python -m module <our process id> *arguments`. It inherits `descriptors`.

        Call it from the thread of the event loop: a child dies when the thread that started it ends.
        Raises Unavailable once the store is closed.
        """
        if self._ended:
            raise Unavailable("store", "the store is closed")
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(os.getpid()), *arguments],
            stdin=subprocess.DEVNULL,
            pass_fds=(*descriptors, self._lock),
        )
        self._running = [*(other for other in self._running if other.poll() is None), process]
        return process

    async def end(self) -> None:
        """Kills those that still run and waits until they are gone. None can be started any more."""
        self._ended = True
        for process in self._running:
            process.kill()
        for process in self._running:
            await asyncio.to_thread(process.wait)


async def whole(job: Coroutine[Any, Any, T]) -> T:
    """Does a job that must not be left half done: cancellations, however many, wait for its end."""
    task = asyncio.create_task(job)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled from (None if task.cancelled() else task.exception())
    return task.result()
