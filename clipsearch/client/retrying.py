"""Calls that are made again while the service is only busy or away, and writes of many rows by them."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import TypeVar

from clipsearch.client.errors import ClipSearchError
from clipsearch.client.types import UpsertResult

Answer = TypeVar("Answer")
Row = TypeVar("Row")

# A service that is full, away, late, or shedding a conflict; the call itself may be right.
PASSING = frozenset({"RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED"})

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 10.0

_Refused = list[tuple[Row, ClipSearchError]]


class RetryBudget:
    """Shared by all calls of one run: it ends `limit_s` seconds after the last call that got through."""

    def __init__(self, limit_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit_s = limit_s
        self._clock = clock
        self._last_success = clock()

    def renew(self) -> None:
        """A call got through."""
        self._last_success = self._clock()

    def pause(self, error: ClipSearchError, attempt: int) -> float:
        """Seconds to wait after the `attempt`-th refusal (from 0).

        At least what the service asked for, otherwise doubling up to 10 s; spread at random, so that
        calls refused together do not come back together. Raises `error` when the budget would end.
        """
        if error.retry_after is not None:
            pause = error.retry_after * random.uniform(1.0, 1.5)  # noqa: S311 - no secret
        else:
            pause = min(_FIRST_PAUSE_S * 2.0**attempt, _LONGEST_PAUSE_S) * random.uniform(0.5, 1.0)  # noqa: S311
        if self._clock() - self._last_success + pause > self._limit_s:
            raise error
        return pause


async def _sleep(error: ClipSearchError, seconds: float) -> None:
    await asyncio.sleep(seconds)


class Retrying:
    """Makes calls until they are answered; all of them share one retry budget.

    `wait` is awaited with the error and the seconds to wait before a call is made again. What it
    raises ends the call.
    """

    def __init__(
        self, budget: RetryBudget, wait: Callable[[ClipSearchError, float], Awaitable[None]] = _sleep
    ) -> None:
        self._budget = budget
        self._wait = wait

    async def make(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer of a call. Raises ClipSearchError when the budget ends, or for a wrong call."""
        answer = await self._answer(call)
        self._budget.renew()
        return answer

    async def write(
        self,
        rows: Sequence[Row],
        send: Callable[[Sequence[Row]], Awaitable[Sequence[UpsertResult]]],
        *,
        written: Callable[[Row, UpsertResult], None],
        failed: Callable[[Row, ClipSearchError], None],
    ) -> None:
        """Sends rows until each is `written` or `failed`; one of the two is called for each, once.

        `send` makes the call and returns a result a row, in order. Rows that only met a busy service
        are sent again. A call that is refused for what it holds is made again in halves, down to the
        row at fault. Raises ClipSearchError when the budget ends, or where the call as such is refused.
        """
        for attempt in count():
            refused = await self._send(rows, send, written, failed)
            if not refused:
                return
            await self._pause(refused[0][1], attempt)
            rows = [row for row, _ in refused]

    async def _send(
        self,
        rows: Sequence[Row],
        send: Callable[[Sequence[Row]], Awaitable[Sequence[UpsertResult]]],
        written: Callable[[Row, UpsertResult], None],
        failed: Callable[[Row, ClipSearchError], None],
    ) -> _Refused[Row]:
        """One attempt; returns the rows to send again and why."""
        if not rows:
            return []
        try:
            # No reason to renew the budget: an answer may refuse every row.
            results = await self._answer(lambda: send(rows))
        except ClipSearchError as error:
            if not is_about_content(error):
                raise
            if len(rows) == 1:
                failed(rows[0], error)
                return []
            middle = len(rows) // 2
            halves = rows[:middle], rows[middle:]
            return [one for half in halves for one in await self._send(half, send, written, failed)]
        again: _Refused[Row] = []
        for row, result in zip(rows, results, strict=True):
            if result.error is None:
                self._budget.renew()
                written(row, result)
            elif result.error.code in PASSING:
                again.append((row, result.error))
            else:
                failed(row, result.error)
        return again

    async def _answer(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        for attempt in count():
            try:
                return await call()
            except ClipSearchError as error:
                if error.code not in PASSING or is_about_content(error):
                    raise
                await self._pause(error, attempt)
        raise AssertionError("count() has no end")

    async def _pause(self, error: ClipSearchError, attempt: int) -> None:
        await self._wait(error, self._budget.pause(error, attempt))


def is_about_content(error: ClipSearchError) -> bool:
    """True for a call refused for what it holds: less of it may pass.

    gRPC itself says "message larger than max" with RESOURCE_EXHAUSTED; a full service gives a reason,
    and says when to come back.
    """
    if error.code == "RESOURCE_EXHAUSTED":
        return error.retry_after is None and not error.reason
    return error.code == "INVALID_ARGUMENT"


def reason(error: ClipSearchError) -> str:
    """What is wrong with a row, without the field's path: its index counts in a batch that nobody sees.

    What kind of value is meant stays, where the message does not say it.
    """
    said = error.message.removeprefix(f"{error.field}: ")
    name = (error.field or "").rpartition(".")[2]
    return f"{name}: {said}" if name in ("id", "payload") and said != error.message else said
