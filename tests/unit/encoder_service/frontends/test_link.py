"""Front ends and the session process over real sockets and shared memory, in one loop; a stand-in model."""

from __future__ import annotations

import asyncio
import math
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import numpy as np
import pytest
from numpy.typing import NDArray
from structlog.testing import capture_logs

from clipsearch.serving.errors import DeadlineExceeded, Unavailable
from encoder_service.batching import Batcher
from encoder_service.frontends.answering import Answering
from encoder_service.frontends.link import Link, RemotePictures, RemoteTexts, SessionFailed
from encoder_service.frontends.shared import Segment, Shape, Slots, create
from encoder_service.frontends.wire import Message, Picture, Scrape, Stop, Text, frame
from encoder_service.tokens import TextInput, Tokens

SHAPE = Shape(slots=4, size=8, dimension=3)


class Model:
    """Its vectors are told by the input; it runs while the gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.batches: list[list[int]] = []
        self.error: Exception | None = None

    def pictures(self, pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        return self._run([int(picture[0, 0, 0]) for picture in pictures])

    def texts(self, texts: Sequence[Tokens]) -> NDArray[np.float32]:
        return self._run([text.ids[0] for text in texts])

    def _run(self, inputs: list[int]) -> NDArray[np.float32]:
        self.batches.append(inputs)
        assert self.gate.wait(10)
        if self.error is not None:
            raise self.error
        return np.array([[value, 0, 1] for value in inputs], np.float32)


class Session:
    """A session process's batchers, and front ends before them."""

    def __init__(self, model: Model, pictures: Batcher[NDArray[np.uint8]], texts: Batcher[Tokens]) -> None:
        self.model, self._pictures, self._texts = model, pictures, texts
        self.changes = 0
        self.problem = ""

    async def front_end(self) -> FrontEnd:
        descriptor = create("test", SHAPE.bytes)
        ours, theirs = socket.socketpair()
        answering = Answering(
            self._pictures,
            self._texts,
            Segment.of(descriptor, SHAPE),
            16,
            self._changed,
            lambda: self.problem,
        )
        link = Link(lambda hurry: orders.append(hurry), lambda: orders.append("lost"), lambda: "[1]")
        orders: list[object] = []
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: answering, sock=ours)
        await loop.create_unix_connection(lambda: link, sock=theirs)
        slots = Slots(Segment.of(descriptor, SHAPE))
        os.close(descriptor)
        return FrontEnd(answering, link, slots, orders)

    def _changed(self) -> None:
        self.changes += 1


class FrontEnd:
    def __init__(self, answering: Answering, link: Link, slots: Slots, orders: list[object]) -> None:
        self.answering, self.link, self.slots, self.orders = answering, link, slots, orders
        self.pictures, self.texts = RemotePictures(link, slots), RemoteTexts(link)

    async def picture(self, value: int, deadline: float = math.inf) -> list[float]:
        pixels = np.full((8, 8, 3), value, np.uint8)
        return (await self.pictures.compute(pixels, deadline)).vector.tolist()

    async def text(self, value: int, deadline: float = math.inf) -> list[float]:
        return (await self.texts.compute(Tokens((value,), TextInput(1)), deadline)).vector.tolist()

    def send_raw(self, data: bytes) -> None:
        self.link._outbox._transport.write(data)


@pytest.fixture
async def session() -> AsyncIterator[Session]:
    async with running() as made:
        yield made


@asynccontextmanager
async def running() -> AsyncIterator[Session]:
    model = Model()
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as two:
        async with (
            Batcher(model.pictures, one, 8, weigh=lambda _: 1) as pictures,
            Batcher(model.texts, two, 64, weigh=lambda tokens: len(tokens.ids)) as texts,
        ):
            yield Session(model, pictures, texts)
            model.gate.set()


async def until(condition: Callable[[], object], within_s: float = 5.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.002)


async def test_vectors_come_back_to_whom_they_belong(session: Session) -> None:
    one, other = await session.front_end(), await session.front_end()
    values = range(40)  # ten times as many as there are slots
    answers = await asyncio.gather(
        *(front.picture(value) for value in values for front in (one, other)),
        *(front.text(value) for value in values for front in (one, other)),
    )
    assert answers == [[value, 0, 1] for value in values for _ in range(2)] * 2
    assert (one.slots.free, other.slots.free, one.answering.in_work) == (4, 4, 0)


async def test_pictures_of_different_front_ends_share_a_batch(session: Session) -> None:
    one, other = await session.front_end(), await session.front_end()
    session.model.gate.clear()
    first = asyncio.create_task(one.picture(1))
    await until(lambda: session.model.batches)
    rest = [asyncio.create_task(front.picture(n)) for n, front in enumerate((one, other, other), start=2)]
    await until(lambda: one.answering.in_work + other.answering.in_work == 4)
    session.model.gate.set()
    await asyncio.gather(first, *rest)
    assert session.model.batches[0] == [1]
    assert sorted(session.model.batches[1]) == [2, 3, 4]


async def test_work_whose_caller_has_gone_never_runs_and_its_slot_is_free_at_once(session: Session) -> None:
    front = await session.front_end()
    session.model.gate.clear()
    running = asyncio.create_task(front.picture(1))
    await until(lambda: session.model.batches)
    left = [asyncio.create_task(front.picture(n)) for n in (2, 3)]
    left.append(asyncio.create_task(front.text(9)))
    await until(lambda: front.answering.in_work == 4)
    await until(lambda: [9] in session.model.batches)
    for task in left[:2]:
        task.cancel()
    await asyncio.gather(*left[:2], return_exceptions=True)
    assert front.slots.free == 3
    kept = asyncio.create_task(front.picture(4))  # in the slot of one that has gone
    await until(lambda: front.answering.in_work == 3)
    session.model.gate.set()
    assert await kept == [4, 0, 1]
    assert await running == [1, 0, 1]
    assert [value for batch in session.model.batches for value in batch if value in (2, 3)] == []
    await left[2]


async def test_a_cancelled_picture_whose_slot_is_used_again_while_it_runs_harms_nobody(
    session: Session,
) -> None:
    front = await session.front_end()
    session.model.gate.clear()
    doomed = asyncio.create_task(front.picture(1))
    await until(lambda: session.model.batches)  # inside of the session
    doomed.cancel()
    await asyncio.gather(doomed, return_exceptions=True)
    after = [asyncio.create_task(front.picture(n)) for n in (5, 6, 7, 8)]  # every slot is taken anew
    await until(lambda: front.answering.in_work == 4)
    session.model.gate.set()
    assert await asyncio.gather(*after) == [[n, 0, 1] for n in (5, 6, 7, 8)]


async def test_a_deadline_travels_to_the_batcher_and_back(session: Session) -> None:
    front = await session.front_end()
    session.model.gate.clear()
    running = asyncio.create_task(front.picture(1))
    await until(lambda: session.model.batches)
    late = [
        asyncio.create_task(front.picture(2, time.monotonic() + 0.05)),
        asyncio.create_task(front.picture(3)),
    ]
    await asyncio.sleep(0.1)
    session.model.gate.set()
    with pytest.raises(DeadlineExceeded):
        await late[0]
    assert await late[1] == [3, 0, 1]
    assert await running == [1, 0, 1]
    assert 2 not in [value for batch in session.model.batches for value in batch]


async def test_a_picture_that_waits_for_a_slot_past_its_deadline_does_not_go_over(session: Session) -> None:
    front = await session.front_end()
    session.model.gate.clear()
    filling = [asyncio.create_task(front.picture(n)) for n in range(4)]
    await until(lambda: front.slots.free == 0)
    late = asyncio.create_task(front.picture(9, time.monotonic() + 0.05))
    await asyncio.sleep(0.1)
    assert len(front.pictures) == 1
    session.model.gate.set()
    with pytest.raises(DeadlineExceeded):
        await late
    await asyncio.gather(*filling)
    assert front.slots.free == 4


async def test_a_batch_that_fails_fails_its_callers_and_no_others(session: Session) -> None:
    front = await session.front_end()
    session.model.error = RuntimeError("out of memory")
    session.model.gate.clear()
    with capture_logs() as logs:
        failing = [asyncio.create_task(front.picture(n)) for n in (1, 1, 1)]
        await until(lambda: front.answering.in_work == 3)
        session.model.gate.set()
        for outcome in await asyncio.gather(*failing, return_exceptions=True):
            assert isinstance(outcome, SessionFailed)
            assert str(outcome) == "RuntimeError: out of memory"
    assert [entry["event"] for entry in logs] == ["a batch failed"] * len(session.model.batches)
    session.model.error = None
    assert await front.picture(2) == [2, 0, 1]
    assert front.slots.free == 4


async def test_when_the_session_process_goes_those_who_wait_are_told_and_so_is_who_comes_later(
    session: Session,
) -> None:
    front = await session.front_end()
    session.model.gate.clear()
    waiting = [asyncio.create_task(front.picture(1)), asyncio.create_task(front.text(1))]
    await until(lambda: front.answering.in_work == 2)
    front.answering.close()
    for outcome in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(outcome, Unavailable)
    with pytest.raises(Unavailable):
        await front.picture(2)
    assert front.orders == ["lost"]
    assert front.slots.free == 4


async def test_the_queued_work_of_a_front_end_that_dies_is_dropped(session: Session) -> None:
    dying, other = await session.front_end(), await session.front_end()
    session.model.gate.clear()
    first = asyncio.create_task(other.picture(1))
    await until(lambda: session.model.batches)
    doomed = [asyncio.create_task(dying.picture(n)) for n in (2, 3)]
    await until(lambda: dying.answering.in_work == 2)
    dying.link._outbox._transport.abort()
    await asyncio.gather(*doomed, return_exceptions=True)
    await until(dying.answering.gone.is_set)
    session.model.gate.set()
    assert await first == [1, 0, 1]
    assert await other.picture(4) == [4, 0, 1]
    assert session.model.batches == [[1], [4]]
    assert dying.answering.in_work == 0


@pytest.mark.parametrize(
    "message",
    [
        Picture(1, 4, 0, 1.0),
        Picture(1, 0, 0, math.nan),
        Text(1, 0, 1.0, ()),
        Text(1, 0, 1.0, tuple(range(17))),
        Scrape(1),
    ],
    ids=["no such slot", "a deadline that is no number", "an empty text", "a text too long", "not for it"],
)
async def test_a_front_end_that_sends_what_it_must_not_is_let_go_and_the_others_work_on(
    session: Session, message: Message
) -> None:
    taken_over, other = await session.front_end(), await session.front_end()
    taken_over.send_raw(frame(message))
    await until(taken_over.answering.gone.is_set)
    assert await other.picture(3) == [3, 0, 1]
    assert await other.text(3) == [3, 0, 1]
    assert session.model.batches == [[3], [3]]


async def test_a_number_that_is_in_use_is_not_taken_twice(session: Session) -> None:
    front = await session.front_end()
    session.model.gate.clear()
    front.send_raw(frame(Picture(7, 0, 0, math.inf)) + frame(Picture(7, 1, 0, math.inf)))
    await until(front.answering.gone.is_set)
    session.model.gate.set()
    await until(lambda: front.answering.in_work == 0)


async def test_a_front_end_may_say_that_it_is_ready_only_when_all_are_up(session: Session) -> None:
    front = await session.front_end()
    asked = asyncio.create_task(front.link.ping())
    await until(lambda: front.answering.listens)
    assert session.changes == 1
    assert not asked.done()
    front.answering.go()
    await asyncio.wait_for(asked, 1)
    await asyncio.wait_for(front.link.ping(), 1)


async def test_a_session_that_fails_is_told_to_all_who_ask_how_it_is(session: Session) -> None:
    one, other = await session.front_end(), await session.front_end()
    one.answering.go()
    await one.link.ping()
    session.problem = "the text tower's session fails"
    first = asyncio.create_task(other.link.ping())
    with pytest.raises(Unavailable, match="the text tower's session fails"):
        await one.link.ping()
    other.answering.go()
    with pytest.raises(Unavailable, match="the text tower's session fails"):
        await first
    session.problem = ""
    await asyncio.gather(one.link.ping(), other.link.ping())


async def test_orders_and_metrics_travel(session: Session) -> None:
    front = await session.front_end()
    await front.answering.scrape(5)
    assert front.answering.snapshot == "[1]"
    front.answering.send(Stop(False))
    front.answering.send(Stop(True))
    await until(lambda: len(front.orders) == 2)
    assert front.orders == [False, True]
    front.answering.close()
    await until(front.answering.gone.is_set)
    await asyncio.wait_for(front.answering.scrape(5), 1)
    assert front.answering.snapshot == "[1]"  # what it said last


async def test_a_batcher_that_stops_says_so_over_the_link() -> None:
    async with running() as session:
        front = await session.front_end()
        assert await front.picture(1) == [1, 0, 1]
    with pytest.raises(Unavailable, match="stopping"):
        await front.picture(2)
    front.answering.close()
