"""Makes load: a closed loop (so many clients, one call each) and an open loop (so many calls a second).

It knows nothing of what is called: `send` makes the call of a number.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from time import perf_counter

import grpc
import numpy as np

# A refused client waits before it calls again, as a well-behaved one does.
BACK_OFF_S = 0.05

# Makes call `number`. Raises grpc.aio.AioRpcError or BadAnswer.
Send = Callable[[int], Awaitable[object]]


class BadAnswer(Exception):
    """The call succeeded, but its answer is not what was asked for."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a load. Times count from the start of the load."""

    due_s: float  # when it was sent; in an open loop when it should have been
    latency_ms: float  # from `due_s`, so that a late sender does not hide a slow service
    outcome: str  # OK or the name of the error
    parts_ms: Mapping[str, float] = field(default_factory=dict)

    @property
    def end_s(self) -> float:
        return self.due_s + self.latency_ms / 1000


async def closed_loop(send: Send, numbers: Iterator[int], clients: int, seconds: float) -> list[Call]:
    """Each client sends its next call when the last one is answered, until the time or the numbers end."""
    calls: list[Call] = []
    start = perf_counter()

    async def client() -> None:
        while (due := perf_counter() - start) < seconds:
            number = next(numbers, None)
            if number is None:
                return
            call = await _call(send, number, start, due)
            calls.append(call)
            if call.outcome != "OK":
                await asyncio.sleep(BACK_OFF_S)

    await asyncio.gather(*(client() for _ in range(clients)))
    return calls


async def open_loop(send: Send, numbers: Iterator[int], due: Iterable[float]) -> list[Call]:
    """Sends a call at each time of `due` (seconds, ascending), whatever became of those before."""
    start = perf_counter()
    tasks = []
    for moment in due:
        if (wait := moment - (perf_counter() - start)) > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(_call(send, next(numbers), start, moment)))
    return await asyncio.gather(*tasks)


def poisson(rate: float, seconds: float, seed: int = 0) -> list[float]:
    """Arrival times of independent callers: `rate` a second on average, between 0 and `seconds`."""
    rng = np.random.default_rng(seed)
    gaps = (rng.exponential(1 / rate) for _ in itertools.count())
    return list(itertools.takewhile(lambda moment: moment < seconds, itertools.accumulate(gaps)))


async def _call(send: Send, number: int, start: float, due: float) -> Call:
    try:
        await send(number)
        outcome = "OK"
    except grpc.aio.AioRpcError as error:
        outcome = error.code().name
    except BadAnswer as error:
        outcome = str(error)
    return Call(due, (perf_counter() - start - due) * 1000, outcome)
