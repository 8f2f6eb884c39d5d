"""The order of steps: what is decoded, cached, shared, dropped; with fakes behind the session's interface."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import normalizers

from clipsearch.serving.deadline import deadline_at
from clipsearch.serving.errors import DeadlineExceeded, InvalidArgument, ResourceExhausted
from encoder_service.bundle import read_manifest
from encoder_service.encoder import Encoded, Encoder, ImageTower, Outcome, Running, TextTower
from encoder_service.inputs import images as images_module
from encoder_service.inputs.budget import MemoryBudget
from encoder_service.inputs.errors import InputError
from encoder_service.inputs.images import Decoding, ImageInput
from encoder_service.inputs.texts import TextInput, TextTokenizer
from encoder_service.queue.admission import Admission
from encoder_service.queue.batcher import Batcher
from encoder_service.queue.cache import TextCache
from encoder_service.runtime.session import plain_images, plain_texts
from tests.decoded import prepare_image
from tests.waiting import until

Jpeg = Callable[..., bytes]


class FakeSession:
    """A unit vector by the hash of each row; counts rows, and may be held."""

    provider = "FakeProvider"

    def __init__(self) -> None:
        self.rows = 0
        self.free = threading.Event()
        self.free.set()

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        first = next(iter(inputs.values()))
        self.rows += len(first)
        assert self.free.wait(60)
        return np.stack([unit_vector(row) for row in first])


def unit_vector(row: NDArray[Any]) -> NDArray[np.float32]:
    content = row[row != 0] if row.dtype == np.int64 else row  # padding is 0
    digest = hashlib.sha256(np.ascontiguousarray(content).tobytes()).digest()
    vector = np.frombuffer(digest, dtype=np.uint8).astype(np.float32)[:16] - 127.5
    result: NDArray[np.float32] = vector / np.linalg.norm(vector)
    return result


class Parts:
    """An encoder on fake sessions, with its parts at hand."""

    def __init__(self, encoder: Encoder, image: FakeSession, text: FakeSession, cache: TextCache) -> None:
        self.encoder, self.image, self.text, self.cache = encoder, image, text, cache


@asynccontextmanager
async def open_parts(folder: Path, queue: int = 1000) -> AsyncIterator[Parts]:
    manifest = read_manifest(folder)
    image, text = FakeSession(), FakeSession()
    cache = TextCache(1_000_000)
    with (
        ThreadPoolExecutor(2) as decoders,
        ThreadPoolExecutor(1) as tokenisers,
        ThreadPoolExecutor(1) as a,
        ThreadPoolExecutor(1) as b,
    ):
        async with (
            Batcher(plain_images(image).run, a, 8, weigh=lambda pixels: 1) as image_batches,
            Batcher(plain_texts(text, manifest.text).run, b, 64, weigh=lambda item: len(item.ids)) as texts,
        ):
            budget = MemoryBudget(64 * 2**20)
            tokenizer = TextTokenizer(folder, manifest.text)
            encoder = Encoder(
                manifest,
                Running("fp32", "fp32", "FakeProvider"),
                ImageTower(
                    image_batches,
                    Admission("images", queue, 10**9),
                    Decoding(manifest.image, 100_000, budget, decoders, 2),
                ),
                TextTower(texts, Admission("texts", queue, 10**9), tokenizer, tokenisers, cache, 1000),
            )
            try:
                yield Parts(encoder, image, text, cache)
            finally:
                image.free.set()
                text.free.set()


@pytest.fixture
async def parts(toy_bundle: Path) -> AsyncIterator[Parts]:
    async with open_parts(toy_bundle) as made:
        yield made


def waiters(tower: ImageTower | TextTower) -> int:
    return sum(entry.waiters for entry in tower.batcher._entries.values())


def vector_of(outcome: Outcome) -> list[float]:
    assert isinstance(outcome, Encoded)
    return outcome.vector.tolist()  # type: ignore[no-any-return]


async def test_images_come_back_in_order_with_what_was_done(parts: Parts, jpeg: Jpeg) -> None:
    images = [jpeg((index * 10, 0, 0)) for index in range(20)]
    outcomes = await parts.encoder.encode_images(images)
    rules = parts.encoder.manifest.image
    for data, outcome in zip(images, outcomes, strict=True):
        assert vector_of(outcome) == unit_vector(prepare_image(data, rules).pixels).tolist()
        assert isinstance(outcome, Encoded)
        assert outcome.input == ImageInput(width=20, height=16, format="JPEG")
        assert outcome.preprocess_s > 0


async def test_a_bad_image_fails_alone_and_names_its_place(parts: Parts, jpeg: Jpeg) -> None:
    outcomes = await parts.encoder.encode_images([jpeg(), b"nothing", b"", jpeg((0, 0, 9)), b"nothing"])
    assert [isinstance(outcome, Encoded) for outcome in outcomes] == [True, False, False, True, False]
    errors = [outcome for outcome in outcomes if isinstance(outcome, InvalidArgument)]
    assert [(error.field, error.reason) for error in errors] == [
        ("images[1]", "IMAGE_UNSUPPORTED_FORMAT"),
        ("images[2]", "IMAGE_EMPTY"),
        ("images[4]", "IMAGE_UNSUPPORTED_FORMAT"),
    ]


async def test_equal_inputs_in_flight_are_computed_once(parts: Parts, jpeg: Jpeg) -> None:
    parts.image.free.clear()
    parts.text.free.clear()
    images = [asyncio.create_task(parts.encoder.encode_images([jpeg(), jpeg()])) for _ in range(3)]
    texts = [asyncio.create_task(parts.encoder.encode_texts(["a cat"])) for _ in range(5)]
    await until(lambda: waiters(parts.encoder.images) == 6 and waiters(parts.encoder.texts) == 5)
    parts.image.free.set()
    parts.text.free.set()
    for calls in (images, texts):
        answers = await asyncio.gather(*calls)
        assert len({tuple(vector_of(outcome)) for answer in answers for outcome in answer}) == 1
    assert parts.image.rows == parts.text.rows == 1


async def test_texts_come_back_in_order_and_bad_ones_fail_alone(parts: Parts) -> None:
    texts = ["a cat", "\u2800\u3164\u200b\ufe0f ", "a dog", "x" * 1001, "a cat", "cat " * 40]
    outcomes = await parts.encoder.encode_texts(texts)
    assert vector_of(outcomes[0]) == vector_of(outcomes[4]) != vector_of(outcomes[2])
    failed = {outcome.field: outcome.reason for outcome in outcomes if isinstance(outcome, InvalidArgument)}
    assert failed == {"texts[1]": "TEXT_EMPTY", "texts[3]": "TEXT_TOO_LARGE"}
    assert isinstance(outcomes[5], Encoded)
    assert outcomes[5].input == TextInput(tokens=12, tokens_dropped=30)


async def test_a_text_seen_before_does_not_reach_the_session_again(parts: Parts) -> None:
    first = await parts.encoder.encode_texts(["a cat", "a dog"])
    again = await parts.encoder.encode_texts(["a dog", "a cat", "a dog"])
    assert [vector_of(outcome) for outcome in again] == [vector_of(first[i]) for i in (1, 0, 1)]
    assert parts.text.rows == 2
    assert (parts.cache.hits, parts.cache.misses) == (2, 2)


async def test_memory_that_runs_out_refuses_the_call_for_a_moment(
    parts: Parts, jpeg: Jpeg, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(images_module, "decode", fail)
        with pytest.raises(ResourceExhausted) as caught:
            await parts.encoder.encode_images([jpeg(), jpeg((1, 2, 3))])
    assert (caught.value.reason, caught.value.retry_after_s) == ("OUT_OF_MEMORY", 1.0)
    assert isinstance((await parts.encoder.encode_images([jpeg()]))[0], Encoded)


async def test_a_call_that_is_cancelled_leaves_no_work_behind(parts: Parts, jpeg: Jpeg) -> None:
    parts.image.free.clear()
    parts.text.free.clear()
    blocker = [
        asyncio.create_task(parts.encoder.encode_images([jpeg((1, 2, 3))])),
        asyncio.create_task(parts.encoder.encode_texts(["blue"])),
    ]
    await until(lambda: parts.image.rows == parts.text.rows == 1)
    calls = [
        asyncio.create_task(parts.encoder.encode_images([jpeg((c, 9, 9)) for c in range(10)])),
        asyncio.create_task(parts.encoder.encode_texts(["a cat", "a dog"])),
    ]
    await until(lambda: parts.encoder.images.admission.items == 11)
    await until(lambda: parts.encoder.texts.admission.items == 3)
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    parts.image.free.set()
    parts.text.free.set()
    await asyncio.gather(*blocker)
    await parts.encoder.encode_images([jpeg((3, 2, 1))])
    await parts.encoder.encode_texts(["red"])
    assert (parts.image.rows, parts.text.rows) == (2, 2)


async def test_a_call_whose_deadline_has_passed_costs_neither_decoding_nor_inference(
    parts: Parts, jpeg: Jpeg, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("encoder_service.inputs.images.open_image", lambda *_: pytest.fail("it was decoded"))
    with deadline_at(time.monotonic() - 1):
        with pytest.raises(DeadlineExceeded):
            await parts.encoder.encode_images([jpeg()])
        with pytest.raises(DeadlineExceeded):
            await parts.encoder.encode_texts(["a cat"])
    assert (parts.image.rows, parts.text.rows) == (0, 0)


async def test_a_full_queue_refuses_before_it_decodes_and_recovers(toy_bundle: Path, jpeg: Jpeg) -> None:
    async with open_parts(toy_bundle, queue=4) as parts:
        parts.image.free.clear()
        inside = asyncio.create_task(parts.encoder.encode_images([jpeg((c, 0, 0)) for c in range(4)]))
        await until(lambda: parts.encoder.images.admission.items == 4)
        with pytest.raises(ResourceExhausted, match="5 images would be in work, the limit is 4"):
            await parts.encoder.encode_images([jpeg()])
        parts.image.free.set()
        await inside
        assert isinstance((await parts.encoder.encode_images([jpeg()]))[0], Encoded)


async def test_a_vector_that_is_not_finite_is_an_error_and_never_cached(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = np.full((1, 16), np.nan, dtype=np.float32)
    with monkeypatch.context() as patch:
        patch.setattr(parts.text, "run", lambda inputs: nothing)
        with pytest.raises(ArithmeticError, match="not finite"):
            await parts.encoder.encode_texts(["a cat"])
    assert isinstance((await parts.encoder.encode_texts(["a cat"]))[0], Encoded)


async def test_decoding_long_texts_and_sessions_never_run_on_the_loops_thread(
    parts: Parts, jpeg: Jpeg, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: dict[str, threading.Thread] = {}

    def watch(label: str, owner: object, name: str) -> None:
        original = getattr(owner, name)

        def watched(*args: Any) -> Any:
            threads[label] = threading.current_thread()
            return original(*args)

        monkeypatch.setattr(owner, name, watched)

    watch("image session", parts.image, "run")
    watch("text session", parts.text, "run")
    watch("decoding", images_module, "decode")
    watch("hashing", images_module.hashlib, "sha256")
    watch("tokenising", parts.encoder.texts.tokenizer, "encode")
    await parts.encoder.encode_images([jpeg()])
    await parts.encoder.encode_texts(["cat " * 200 + str(n) for n in range(10)])
    assert len(threads) == 5
    assert threading.main_thread() not in threads.values()


async def test_texts_never_wait_behind_images(toy_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every decoding thread is held, and far more texts come than are tokenised on the loop."""
    free = threading.Event()

    def held(*_: object, **__: object) -> None:
        assert free.wait(30)
        raise InputError("IMAGE_INVALID", "it was held long enough")

    monkeypatch.setattr("encoder_service.inputs.images.open_image", held)
    async with open_parts(toy_bundle) as parts:
        images = asyncio.create_task(parts.encoder.encode_images([bytes([n]) for n in range(1, 21)]))
        texts = ["cat " * 20 + str(n) for n in range(103)]
        try:
            answers = await asyncio.wait_for(parts.encoder.encode_texts(texts), 20)
            assert not images.done()
        finally:
            free.set()
        assert all(isinstance(answer, Encoded) for answer in answers)
        await images


async def test_a_text_that_the_tokenizer_drops_fails_alone(parts: Parts) -> None:
    tokenizer = parts.encoder.texts.tokenizer._tokenizer
    tokenizer.normalizer = normalizers.Replace("~", "")
    outcomes = await parts.encoder.encode_texts(["a cat", "~", "\u200b"])
    assert isinstance(outcomes[0], Encoded)
    errors = [outcome for outcome in outcomes[1:] if isinstance(outcome, InvalidArgument)]
    assert [(error.field, error.reason) for error in errors] == [
        ("texts[1]", "TEXT_EMPTY"),
        ("texts[2]", "TEXT_EMPTY"),
    ]
