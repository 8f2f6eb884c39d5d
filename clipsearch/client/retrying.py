"""Calls that are made again while the service is only busy or away: pages, writes, several side by side."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from itertools import count
from typing import TypeVar

from clipsearch.client.errors import ClipSearchError
from clipsearch.client.types import Page, UpsertResult

Answer = TypeVar("Answer")
Item = TypeVar("Item")
Row = TypeVar("Row")

# A service that is full, away, late, or shedding a conflict; the call itself may be right.
PASSING = frozenset({"RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED"})

_PAGE = 256
# Of a page: what it has to hold is too much, for the store or by the service's settings.
_TOO_LARGE = frozenset({"", "STORE_REFUSED", "LIMIT_TOO_LARGE"})
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 10.0


class Retrying:
    """Makes calls until they are answered; all share a budget.

    It ends `limit_s` seconds after the last call that got through. `wait` is awaited with the error and
    the seconds to wait before a call is made again; what it raises ends the call.
    """

    def __init__(
        self,
        limit_s: float = 120.0,
        wait: Callable[[ClipSearchError, float], Awaitable[None]] = lambda _, seconds: asyncio.sleep(seconds),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit_s = limit_s
        self._wait = wait
        self._clock = clock
        self._last_success = clock()

    def renew(self) -> None:
        """The budget begins anew: a call got through."""
        self._last_success = self._clock()

    async def make(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer of a call. Raises ClipSearchError when the budget ends, or for a wrong call."""
        answer = await self._answer(call)
        self.renew()
        return answer

    async def pages(self, list_page: Callable[..., Awaitable[Page]], token: str = "") -> AsyncIterator[Page]:
        """All pages, or those from `token` on; `list_page` is a client's, with all its other arguments.

        A page has 256 points, or fewer where these do not fit into a message.
        """
        size = _PAGE
        while True:
            try:
                page = await self.make(partial(list_page, page_token=token, page_size=size))
            except ClipSearchError as error:
                if not is_about_content(error) or error.reason not in _TOO_LARGE or size == 1:
                    raise
                size //= 2
                continue
            yield page
            token = page.next_token
            if not token:
                return

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

        async def attempted(rows: Sequence[Row]) -> list[tuple[Row, ClipSearchError]]:
            """The rows to send again and why."""
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
                return [*await attempted(rows[:middle]), *await attempted(rows[middle:])]
            again = []
            for row, result in zip(rows, results, strict=True):
                if result.error is None:
                    self.renew()
                    written(row, result)
                elif result.error.code in PASSING:
                    again.append((row, result.error))
                else:
                    failed(row, result.error)
            return again

        attempts = count()
        while rows:
            refused = await attempted(rows)
            if refused:
                await self._pause(refused[0][1], next(attempts))
            rows = [row for row, _ in refused]

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
        """Waits after the `attempt`-th refusal (from 0); raises `error` when the budget would end.

        At least what the service asked for, otherwise doubling up to 10 s; spread at random, so that
        calls refused together do not come back together.
        """
        if error.retry_after is not None:
            pause = error.retry_after * random.uniform(1.0, 1.5)  # noqa: S311 - no secret
        else:
            pause = min(_FIRST_PAUSE_S * 2.0**attempt, _LONGEST_PAUSE_S) * random.uniform(0.5, 1.0)  # noqa: S311
        if self._clock() - self._last_success + pause > self._limit_s:
            raise error
        await self._wait(error, pause)


async def side_by_side(
    items: Iterator[Item], work: Callable[[Item], Awaitable[object]], workers: int
) -> None:
    """Awaits `work` for each item, several at a time. Raises what the first raises that fails."""

    async def take() -> None:
        for item in items:  # the next that no other worker has
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(take())
    except* Exception as errors:
        raise errors.exceptions[0] from None


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
