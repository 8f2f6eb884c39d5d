"""Calls that are made again while the service is only busy or away, and writes of many rows by them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import TypeVar

from clipsearch.client.backoff import PASSING, Patience
from clipsearch.client.errors import ClipSearchError
from clipsearch.client.types import UpsertResult

Answer = TypeVar("Answer")
Row = TypeVar("Row")
_Refused = list[tuple[Row, ClipSearchError]]


async def _sleep(error: ClipSearchError, seconds: float) -> None:
    await asyncio.sleep(seconds)


class PatientCalls:
    """Makes calls until they are answered; all of them share one patience.

    `wait` is awaited with the error and the seconds to wait before a call is made again. What it
    raises ends the call.
    """

    def __init__(
        self, patience: Patience, wait: Callable[[ClipSearchError, float], Awaitable[None]] = _sleep
    ) -> None:
        self._patience = patience
        self._wait = wait

    async def make(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer of a call. Raises ClipSearchError when patience ends, or for a wrong call."""
        answer = await self._answer(call)
        self._patience.renew()
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
        row at fault. Raises ClipSearchError when patience ends, or where the call as such is refused.
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
            # No reason to renew the patience: an answer may refuse every row.
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
                self._patience.renew()
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
        await self._wait(error, self._patience.pause(error, attempt))


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
