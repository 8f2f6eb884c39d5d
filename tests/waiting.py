"""Waiting for a state, never for a time. The bound is for hangs alone; no machine is so slow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

HANGS_S = 60.0

T = TypeVar("T")


async def until(holds: Callable[[], bool]) -> None:
    """Waits until something holds, and lets the event loop go on meanwhile."""
    end = time.monotonic() + HANGS_S
    while not holds():
        assert time.monotonic() < end, f"not so after {HANGS_S} s"
        await asyncio.sleep(0.005)


def wait_until(holds: Callable[[], bool]) -> None:
    """Waits until something outside of this process holds."""
    end = time.monotonic() + HANGS_S
    while not holds():
        assert time.monotonic() < end, f"not so after {HANGS_S} s"
        time.sleep(0.01)


async def settled() -> None:
    """Every callback that was due has run."""
    for _ in range(5):
        await asyncio.sleep(0)


def at_once(call: Coroutine[Any, Any, T]) -> T:
    """What a call comes to, result or error, that is to wait for nothing and for nobody."""
    try:
        call.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    call.close()
    raise AssertionError("the call waits for something")
