"""Work on many points, with other calls in between: large payloads can take seconds in all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

_TURN_S = 0.01

Part = TypeVar("Part")
Done = TypeVar("Done")


async def in_turns(parts: Sequence[Part], do: Callable[[Part, int], Done]) -> list[Done]:
    """What `do` makes of each part and its index, one after another."""
    done, turn = list[Done](), time.perf_counter()
    for index, part in enumerate(parts):
        done.append(do(part, index))
        if time.perf_counter() - turn > _TURN_S:
            await asyncio.sleep(0)
            turn = time.perf_counter()
    return done
