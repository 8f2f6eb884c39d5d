"""Calls made again while the service is busy, and writes cut down to the row at fault."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from clipsearch.client.errors import ClipSearchError
from clipsearch.client.retrying import Retrying, reason, side_by_side
from clipsearch.client.types import Page, StoredPoint, UpsertResult

BUSY = ClipSearchError("RESOURCE_EXHAUSTED", "full", reason="QUEUE_FULL", retry_after=1.0)
AWAY = ClipSearchError("UNAVAILABLE", "gone")
BAD = ClipSearchError("INVALID_ARGUMENT", "points[3]: bad", field="points[3]")
TOO_LARGE = ClipSearchError("RESOURCE_EXHAUSTED", "message larger than max")
REFUSED = ClipSearchError("FAILED_PRECONDITION", "another model")

LIMIT_S = 10.0


class Clock:
    """Time passes only while somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[tuple[ClipSearchError, float]] = []

    async def wait(self, error: ClipSearchError, seconds: float) -> None:
        self.waits.append((error, seconds))
        self.now += seconds


class Rows:
    """A service that writes rows. `refuse` answers each call with an error, or None and then row by row."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.refuse: Callable[[Sequence[str]], ClipSearchError | None] = lambda rows: None
        self.refuse_row: Callable[[str], ClipSearchError | None] = lambda row: None
        self.written: list[str] = []
        self.failed: dict[str, ClipSearchError] = {}

    async def send(self, rows: Sequence[str]) -> list[UpsertResult]:
        self.calls.append(list(rows))
        refused = self.refuse(rows)
        if refused is not None:
            raise refused
        return [UpsertResult(row, self.refuse_row(row), 0) for row in rows]

    async def write(self, calls: Retrying, rows: str) -> None:
        await calls.write(
            list(rows),
            self.send,
            written=lambda row, result: self.written.append(row),
            failed=self.failed.__setitem__,
        )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def calls(clock: Clock) -> Retrying:
    return Retrying(LIMIT_S, clock.wait, lambda: clock.now)


@pytest.fixture
def service() -> Rows:
    return Rows()


def failing(*errors: ClipSearchError) -> Callable[[], object]:
    left = list(errors)

    async def call() -> str:
        if left:
            raise left.pop(0)
        return "answer"

    return call


async def test_a_call_is_made_again_until_it_is_answered(calls, clock):
    assert await calls.make(failing(BUSY, AWAY)) == "answer"
    assert [error for error, _ in clock.waits] == [BUSY, AWAY]
    assert clock.waits[0][1] >= 1.0


@pytest.mark.parametrize("error", [BAD, TOO_LARGE, REFUSED])
async def test_a_wrong_call_is_made_once(calls, clock, error):
    with pytest.raises(ClipSearchError) as raised:
        await calls.make(failing(error))
    assert raised.value is error
    assert not clock.waits


async def test_patience_ends_and_an_answer_renews_it(calls, clock):
    await calls.make(failing(*[BUSY] * 4))
    assert clock.now >= 4.0
    await calls.make(failing(*[BUSY] * 4))
    with pytest.raises(ClipSearchError) as raised:
        await calls.make(failing(*[BUSY] * 20))
    assert raised.value is BUSY
    assert clock.now <= 3 * LIMIT_S


async def test_what_wait_raises_ends_the_call():
    async def halt(error: ClipSearchError, seconds: float) -> None:
        raise KeyError("halted")

    with pytest.raises(KeyError):
        await Retrying(LIMIT_S, halt).make(failing(BUSY))


async def test_only_rows_that_met_a_busy_service_are_sent_again(calls, clock, service):
    met: set[str] = set()

    def once(row: str) -> ClipSearchError | None:
        if row in met or row not in "bd":
            return None
        met.add(row)
        return BUSY

    service.refuse_row = once
    await service.write(calls, "abcd")
    assert service.calls == [["a", "b", "c", "d"], ["b", "d"]]
    assert service.written == ["a", "c", "b", "d"]
    assert len(clock.waits) == 1


@pytest.mark.parametrize("error", [BAD, TOO_LARGE])
async def test_a_refused_batch_is_halved_down_to_the_row_at_fault(calls, clock, service, error):
    service.refuse = lambda rows: error if "f" in rows else None
    await service.write(calls, "abcdefgh")
    assert service.written == list("abcdegh")
    assert service.failed == {"f": error}
    assert len(service.calls) == 7
    assert not clock.waits


async def test_rows_that_are_always_refused_end_the_patience(calls, clock, service):
    service.refuse_row = lambda row: BUSY
    with pytest.raises(ClipSearchError) as raised:
        await service.write(calls, "ab")
    assert raised.value is BUSY
    assert clock.now <= LIMIT_S
    assert not service.written


async def test_each_row_that_is_written_renews_the_patience(calls, clock, service):
    rows = "abcdefghijklmnopqrst"
    service.refuse_row = lambda row: None if row == rows[len(service.calls) - 1] else BUSY
    await service.write(calls, rows)
    assert service.written == list(rows)
    assert clock.now > LIMIT_S


def test_the_reason_leaves_the_field_out():
    assert reason(BAD) == "bad"
    assert reason(AWAY) == "gone"


def test_an_error_of_no_field_is_led_by_the_item():
    assert AWAY.about("a.jpg").message == "a.jpg: gone"


async def test_a_refused_call_is_not_halved(calls, service):
    service.refuse = lambda rows: REFUSED
    with pytest.raises(ClipSearchError) as raised:
        await service.write(calls, "abcd")
    assert raised.value is REFUSED
    assert len(service.calls) == 1


@pytest.mark.parametrize(
    "error",
    [
        TOO_LARGE,
        ClipSearchError("INVALID_ARGUMENT", "page_size: 256, at most 100", reason="LIMIT_TOO_LARGE"),
        ClipSearchError("INVALID_ARGUMENT", "the answer takes too much memory", reason="STORE_REFUSED"),
    ],
)
async def test_pages_are_as_large_as_the_service_takes_and_may_begin_anywhere(calls, error):
    asked: list[tuple[str, int]] = []

    async def list_page(*, page_token: str, page_size: int) -> Page:
        asked.append((page_token, page_size))
        if page_size > 100:
            raise error
        first = int(page_token or 0)
        points = tuple(StoredPoint(str(n), {}, True, False) for n in range(first, first + page_size))
        return Page(points, str(first + page_size) if first < 64 else "")

    found = [point.id async for page in calls.pages(list_page) for point in page.points]
    assert asked == [("", 256), ("", 128), ("", 64), ("64", 64)]
    assert found == [str(n) for n in range(128)]
    asked.clear()
    assert [len(page.points) async for page in calls.pages(list_page, "64")] == [64]
    assert asked[0] == ("64", 256)


@pytest.mark.parametrize(
    ("error", "times"),
    [
        (TOO_LARGE, 9),
        (ClipSearchError("INVALID_ARGUMENT", "no such field", reason="FILTER_FIELD_UNKNOWN"), 1),
    ],
)
async def test_a_page_that_is_refused_whatever_its_size_is_an_error(calls, error, times):
    asked = []

    async def list_page(*, page_token: str, page_size: int) -> Page:
        asked.append(page_size)
        raise error

    with pytest.raises(ClipSearchError) as raised:
        await anext(calls.pages(list_page))
    assert raised.value is error
    assert len(asked) == times


async def test_so_many_items_are_worked_on_at_a_time_and_the_first_fault_ends_all():
    at_once = most = 0
    done = []

    async def work(item: int) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= 1
        done.append(item)

    await side_by_side(iter(range(10)), work, 3)
    assert (sorted(done), most) == (list(range(10)), 3)

    async def fail(item: int) -> None:
        if item == 4:
            raise KeyError(item)
        await work(item)

    left = iter(range(100))
    with pytest.raises(KeyError):
        await side_by_side(left, fail, 3)
    assert len(list(left)) > 90
