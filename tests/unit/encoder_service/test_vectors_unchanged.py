"""A vector is of its input alone, whatever the batching, order, batch-mates, splitting, cutting and caching.

Runs the starter bundle's own graphs. Its text graph is int8, but only its weights are: the bound of
fp32 holds for it too (measured: largest difference 4.5e-8).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from encoder_service.bundle import Manifest, graph_file, read_manifest
from encoder_service.encoder import Encoded, Encoder, ImageTower, Outcome, Running, TextTower
from encoder_service.inputs.budget import MemoryBudget
from encoder_service.inputs.images import Decoding
from encoder_service.inputs.texts import TextTokenizer, Tokens
from encoder_service.queue.admission import Admission
from encoder_service.queue.batcher import Batcher
from encoder_service.queue.cache import TextCache
from encoder_service.runtime.session import OnnxSession, Pixels, Run, plain_images, plain_texts
from tests.decoded import prepare_image

BOUND = 1e-5  # largest difference of any of the vector's numbers

TEXTS = [
    "cat",
    "a cup of coffee on a wooden table",
    "two motorcycles beside a wall, one of them red, seen from the left",
    "Ünïcödé, 猫 and 😀",
    "flower " * 40,
    "a rocket on its way to the moon " * 60,  # longer than the context
    "a photo of a retina",
    "grass, gravel, bricks",
]


@dataclass(frozen=True)
class Model:
    """The starter's sessions, and what each input gives when it is alone."""

    manifest: Manifest
    tokenizer: TextTokenizer
    run_images: Run[Pixels]
    texts: Run[Tokens]
    images: list[bytes]
    image_vectors: list[NDArray[np.float32]]
    text_vectors: list[NDArray[np.float32]]


@pytest.fixture(scope="module")
def model(starter_bundle: Path, photos: list[Path]) -> Model:
    manifest = read_manifest(starter_bundle)
    graphs = {
        tower: OnnxSession(starter_bundle / graph_file(tower, manifest.preferred_cpu[tower]), "cpu", 2)
        for tower in ("image", "text")
    }
    run_images = plain_images(graphs["image"]).run
    texts = plain_texts(graphs["text"], manifest.text).run
    tokenizer = TextTokenizer(starter_bundle, manifest.text)
    images = [file.read_bytes() for file in photos[:6]]
    return Model(
        manifest,
        tokenizer,
        run_images,
        texts,
        images,
        [run_images([prepare_image(data, manifest.image).pixels])[0] for data in images],
        [texts([tokens])[0] for tokens in tokenizer.encode(TEXTS)],
    )


@pytest.fixture(scope="module")
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


@dataclass(frozen=True)
class Mix:
    """Requests that arrive together, as places in the lists of inputs, and how the encoder is set."""

    texts: list[list[int]]
    images: list[list[int]]
    tokens_at_once: int
    images_at_once: int
    cache_bytes: int


MIXES = st.builds(
    Mix,
    texts=st.lists(st.lists(st.integers(0, len(TEXTS) - 1), min_size=1, max_size=12), max_size=5),
    images=st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=4), max_size=2),
    tokens_at_once=st.integers(1, 1500),
    images_at_once=st.integers(1, 8),
    cache_bytes=st.sampled_from([0, 6000, 10**6]),
)


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mix=MIXES)
def test_in_any_mix_a_vector_is_what_it_is_alone(model: Model, threads: ThreadPoolExecutor, mix: Mix) -> None:
    asyncio.run(_compare(model, threads, mix))


async def _compare(model: Model, threads: ThreadPoolExecutor, mix: Mix) -> None:
    async with (
        Batcher(model.run_images, threads, mix.images_at_once, weigh=lambda pixels: 1) as image_batches,
        Batcher(model.texts, threads, mix.tokens_at_once, weigh=lambda tokens: len(tokens.ids)) as texts,
    ):
        decoding = Decoding(model.manifest.image, 10**6, MemoryBudget(64 * 2**20), threads, 2)
        encoder = Encoder(
            model.manifest,
            Running("fp32", "int8", "CPUExecutionProvider"),
            ImageTower(image_batches, Admission("images", 1000, 10**9), decoding),
            TextTower(
                texts,
                Admission("texts", 1000, 10**9),
                model.tokenizer,
                threads,
                TextCache(mix.cache_bytes),
                10_000,
            ),
        )
        for _ in range(2):  # the second time some come from the cache
            text_answers = asyncio.gather(
                *(encoder.encode_texts([TEXTS[i] for i in call]) for call in mix.texts)
            )
            image_answers = asyncio.gather(
                *(encoder.encode_images([model.images[i] for i in call]) for call in mix.images)
            )
            _agree(mix.texts, await text_answers, model.text_vectors)
            _agree(mix.images, await image_answers, model.image_vectors)


def _agree(
    calls: list[list[int]], answers: Sequence[list[Outcome]], alone: list[NDArray[np.float32]]
) -> None:
    for call, answer in zip(calls, answers, strict=True):
        for place, outcome in zip(call, answer, strict=True):
            assert isinstance(outcome, Encoded)
            assert np.abs(outcome.vector - alone[place]).max() <= BOUND
