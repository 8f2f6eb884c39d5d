"""The load generators send what they say, when they say, and hide no latency."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Mapping

import grpc
import pytest
from grpc.aio import Metadata

from tests.bench.load import BACK_OFF_S, BadAnswer, closed_loop, open_loop, poisson


class Server:
    """Answers after a while; remembers who called and how many calls were open at once."""

    def __init__(self, seconds: float, error: Exception | None = None) -> None:
        self.numbers: list[int] = []
        self.open = 0
        self.most_open = 0
        self._seconds = seconds
        self._error = error

    async def send(self, number: int) -> Mapping[str, float]:
        self.numbers.append(number)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            await asyncio.sleep(self._seconds)
        finally:
            self.open -= 1
        if self._error is not None:
            raise self._error
        return {"infer": self._seconds * 1000}


async def test_a_closed_loop_keeps_one_call_of_each_client_in_flight() -> None:
    server = Server(0.01)
    calls = await closed_loop(server.send, itertools.count(100), clients=4, seconds=0.2)
    assert server.most_open == 4
    assert server.numbers == list(range(100, 100 + len(calls)))
    assert all(call.outcome == "OK" and call.latency_ms >= 9 for call in calls)


async def test_a_refused_client_waits_before_it_calls_again() -> None:
    refusal = grpc.aio.AioRpcError(grpc.StatusCode.RESOURCE_EXHAUSTED, Metadata(), Metadata())
    start = time.perf_counter()
    calls = await closed_loop(Server(0.0, refusal).send, iter(range(4)), clients=1, seconds=30)
    assert [call.outcome for call in calls] == ["RESOURCE_EXHAUSTED"] * 4
    assert time.perf_counter() - start >= 4 * BACK_OFF_S


async def test_an_open_loop_does_not_wait_for_answers() -> None:
    all_are_open = asyncio.Barrier(4)

    async def send(number: int) -> Mapping[str, float]:
        await all_are_open.wait()
        return {}

    calls = await open_loop(send, itertools.count(), due=[0.0, 0.01, 0.02, 0.03])
    assert [call.due_s for call in calls] == [0.0, 0.01, 0.02, 0.03]


async def test_a_call_sent_late_counts_from_when_it_was_due() -> None:
    async def blocks_the_sender(number: int) -> Mapping[str, float]:
        time.sleep(0.1 if number == 0 else 0.0)  # noqa: ASYNC251  (a sender that cannot keep up)
        return {}

    calls = await open_loop(blocks_the_sender, itertools.count(), due=[0.0, 0.01])
    assert calls[1].latency_ms >= 80


async def test_a_wrong_answer_is_no_success() -> None:
    (call,) = await open_loop(Server(0.0, BadAnswer("no vector")).send, itertools.count(), due=[0.0])
    assert call.outcome == "no vector"


@pytest.mark.parametrize("rate", [50.0, 1000.0])
def test_poisson_arrivals_come_at_the_rate_and_bunch_as_independent_callers_do(rate: float) -> None:
    moments = poisson(rate, seconds=20, seed=3)
    gaps = [b - a for a, b in itertools.pairwise(moments)]
    mean = sum(gaps) / len(gaps)
    assert moments == sorted(moments)
    assert max(moments) < 20
    assert len(moments) == pytest.approx(rate * 20, rel=0.1)
    # Exponential gaps: a third of them are longer than 1.1 times the mean, and 1 in 10 below a tenth of it.
    assert sum(gap > 1.1 * mean for gap in gaps) / len(gaps) == pytest.approx(0.333, abs=0.05)
    assert sum(gap < 0.1 * mean for gap in gaps) / len(gaps) == pytest.approx(0.095, abs=0.03)
