"""When health hears of a session that fails, and when the process is given up."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from clipsearch.serving.errors import Unavailable
from clipsearch.serving.health import Broken
from encoder_service import proving as proving_module
from encoder_service.bundle import known_answer_pixels, read_manifest
from encoder_service.inputs.texts import TextTokenizer, Tokens
from encoder_service.proving import MOST_FAILURES, Proving
from encoder_service.queue.batcher import Batcher

Pixels = NDArray[np.uint8]


class Session:
    """A tower's session: works, fails or gives no numbers; a batch with what is in `spoilt` fails."""

    def __init__(self) -> None:
        self.mode = "works"
        self.batches: list[list[int]] = []
        self.spoilt: set[int] = set()

    def run(self, items: Sequence[Pixels | Tokens]) -> NDArray[np.float32]:
        names = [item.ids[0] if isinstance(item, Tokens) else int(item.sum()) for item in items]
        self.batches.append(names)
        if self.mode == "fails" or self.spoilt.intersection(names):
            raise RuntimeError("an illegal memory access was encountered")
        vectors = np.ones((len(items), 4), np.float32)
        if self.mode == "gives no numbers":
            vectors[:] = np.nan
        return vectors


class House:
    """Both towers, and what watches them."""

    def __init__(
        self, proving: Proving, pictures: Batcher[Pixels], texts: Batcher[Tokens], size: int
    ) -> None:
        self.proving, self.image, self.text = proving, Session(), Session()
        self.known = int(known_answer_pixels(size).sum())
        self._pictures, self._texts, self._size = pictures, texts, size

    async def picture(self, number: int = 1) -> None:
        pixels = np.zeros((self._size, self._size, 3), np.uint8)
        pixels[0, 0, 0] = number
        await self._pictures.compute(pixels, math.inf)

    async def words(self) -> None:
        await self._texts.compute(Tokens((7,), None), math.inf)  # type: ignore[arg-type]

    async def fails(self, call: Callable[[], object]) -> None:
        with pytest.raises((RuntimeError, ArithmeticError)):
            await call()  # type: ignore[misc]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.002)

    @property
    def proofs(self) -> int:
        """How often the known answer's picture has reached the session."""
        return sum(batch.count(self.known) for batch in self.image.batches)


@pytest.fixture
async def house(toy_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    monkeypatch.setattr(proving_module, "POLL_S", 0.01)
    manifest = read_manifest(toy_bundle)
    made: House
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as two:
        async with (
            Batcher(lambda items: made.image.run(items), one, 8, weigh=lambda _: 1) as pictures,
            Batcher(lambda items: made.text.run(items), two, 64, weigh=lambda item: len(item.ids)) as texts,
        ):
            proving = Proving(manifest, TextTokenizer(toy_bundle, manifest.text), pictures, texts)
            made = House(proving, pictures, texts, manifest.image.size)
            watching = asyncio.create_task(proving.watch())
            yield made
            assert not watching.done() or watching.exception() is None
            watching.cancel()


@pytest.mark.parametrize("tower", ["image", "text"])
@pytest.mark.parametrize("how", ["fails", "gives no numbers"])
async def test_a_session_that_fails_every_batch_is_told_and_at_last_given_up(
    house: House, tower: str, how: str
) -> None:
    session, call = (house.image, house.picture) if tower == "image" else (house.text, house.words)
    session.mode = how
    await house.proving.ready()
    await house.fails(call)
    await house.until(lambda: house.proving.problem)
    with pytest.raises(Unavailable, match=f"the {tower} tower's session fails"):
        await house.proving.ready()
    await house.until(lambda: "is broken" in house.proving.problem)
    assert len(session.batches) == 1 + MOST_FAILURES
    with pytest.raises(Broken, match=rf"the {tower} tower's session is broken: .*, {MOST_FAILURES} times"):
        await house.proving.ready()


async def test_nothing_is_asked_while_nothing_fails(house: House) -> None:
    await house.picture()
    await asyncio.sleep(0.1)
    await house.proving.ready()
    assert (len(house.image.batches), len(house.text.batches)) == (1, 0)


async def test_a_session_that_recovers_is_well_at_once_and_begins_anew(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proving_module, "MOST_FAILURES", 10)
    for _ in range(3):
        house.image.mode = "fails"
        await house.fails(house.picture)
        before = house.proofs
        await house.until(lambda before=before: house.proofs >= before + 5)
        house.image.mode = "works"
        await house.until(lambda: not house.proving.problem)
        await house.proving.ready()
    assert "is broken" not in house.proving.problem


async def test_pictures_that_spoil_their_batches_end_nothing_however_many_come(house: House) -> None:
    house.image.spoilt = {1}

    async def spoil() -> None:
        while True:
            with suppress(RuntimeError):
                await house.picture(1)
            await asyncio.sleep(0.001)

    callers = [asyncio.create_task(spoil()) for _ in range(10)]
    # So many proofs that all of them failing would have ended it.
    await house.until(lambda: house.proofs > MOST_FAILURES + 10)
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    assert "is broken" not in house.proving.problem
    assert [batch for batch in house.image.batches if house.known in batch and len(batch) > 1] == []
    await house.until(lambda: not house.proving.problem)


async def test_any_batch_that_gives_a_vector_begins_the_count_anew(house: House) -> None:
    house.image.spoilt = {house.known}  # as if the known answer alone met what is broken
    house.image.mode = "fails"
    await house.fails(house.picture)
    house.image.mode = "works"
    for _ in range(4):
        before = house.proofs
        await house.until(lambda before=before: house.proofs > before + MOST_FAILURES // 3)
        await house.picture(2)
        with suppress(RuntimeError):
            house.image.spoilt.add(3)
            await house.picture(3)
    assert "is broken" not in house.proving.problem


async def test_a_busy_session_is_no_broken_one(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proving_module, "_PROOF_S", 0.0)  # every proof comes too late
    asked: list[float] = []
    submit = house._pictures.submit

    def counted(item: Pixels, deadline: float, ahead: int = 0, *, alone: bool = False) -> object:
        asked.append(deadline)
        return submit(item, deadline, ahead, alone=alone)

    house.image.mode = "fails"
    await house.fails(house.picture)
    monkeypatch.setattr(house._pictures, "submit", counted)
    await house.until(lambda: len(asked) > MOST_FAILURES + 10)
    assert "is broken" not in house.proving.problem
    assert not house.proving.problem
    await house.proving.ready()
