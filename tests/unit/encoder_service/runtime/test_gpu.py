"""Batches as a card gets them, by I/O binding and in few shapes, with the CPU in its place."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from encoder_service.bundle import Manifest, graph_file, read_manifest
from encoder_service.inputs.texts import TextInput, Tokens
from encoder_service.runtime.gpu import fit, gpu_images, gpu_texts
from encoder_service.runtime.providers import SessionError
from encoder_service.runtime.session import OnnxSession, plain_images, plain_texts

Inputs = Mapping[str, NDArray[Any]]


class Card:
    """A session that runs as on a card, notes the shapes it gets and has memory for so many numbers."""

    def __init__(self, path: Path, numbers: int = 10**9, error: str = "Failed to allocate memory") -> None:
        self.plain = OnnxSession(path, "cpu", threads=1)
        self.numbers, self.error = numbers, error
        self.shapes: set[tuple[int, ...]] = set()

    def run(self, inputs: Inputs) -> NDArray[np.float32]:
        first = next(iter(inputs.values()))
        if first.size > self.numbers:
            raise RuntimeError(f"[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : {self.error}")
        self.shapes.add(first.shape)
        return self.plain.run_bound(inputs)


def images(count: int) -> list[NDArray[np.uint8]]:
    return list(np.random.default_rng(count).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8))


def text(length: int) -> Tokens:
    return Tokens((1, *(3 + i % 8 for i in range(length - 2)), 2), TextInput(length))


@pytest.fixture(scope="module")
def manifest(toy_bundle: Path) -> Manifest:
    return read_manifest(toy_bundle)


@pytest.fixture
def card(toy_bundle: Path) -> Card:
    return Card(toy_bundle / graph_file("image", "fp32"))


def test_images_come_out_as_from_a_plain_run_in_few_shapes(card: Card) -> None:
    feeding, plain = gpu_images(card, 8, 24), plain_images(card.plain)  # type: ignore[arg-type]
    assert (feeding.capacity, feeding.in_flight) == (24, 2)
    for count in range(1, 25):
        assert feeding.run(images(count)) == pytest.approx(plain.run(images(count)), abs=1e-6)
    assert {shape[0] for shape in card.shapes} == {1, 2, 4, 8, 16, 24}


def test_texts_come_out_as_from_a_plain_run_in_few_shapes(toy_bundle: Path, manifest: Manifest) -> None:
    card = Card(toy_bundle / graph_file("text", "fp32"))
    feeding = gpu_texts(card, manifest.text, 96)  # type: ignore[arg-type]
    plain = plain_texts(card.plain, manifest.text)
    for lengths in ([2], [12], [3, 5, 2], [8] * 11, [9, 12], [2] * 7):
        texts = [text(length) for length in lengths]
        assert feeding.run(texts) == pytest.approx(plain.run(texts), abs=1e-6)
    assert {shape[1] for shape in card.shapes} == {8, 12}
    assert [feeding.weigh(text(length)) for length in (2, 8, 9, 12)] == [8, 8, 12, 12]


def test_texts_that_fill_the_context_have_one_length(toy_bundle: Path, manifest: Manifest) -> None:
    rules = manifest.text.model_copy(update={"padding": "max_length"})
    card = Card(toy_bundle / graph_file("text", "fp32"))
    gpu_texts(card, rules, 96).run([text(2), text(3)])  # type: ignore[arg-type]
    assert {shape[1] for shape in card.shapes} == {12}


def test_two_threads_get_their_own_vectors(card: Card) -> None:
    run, plain = gpu_images(card, 8, 16).run, plain_images(card.plain).run  # type: ignore[arg-type]
    given_images = [images(count) for count in range(1, 17)] * 3
    expected = [plain(batch) for batch in given_images]
    with ThreadPoolExecutor(2) as callers:
        for got, wanted in zip(callers.map(run, given_images), expected, strict=True):
            assert got == pytest.approx(wanted, abs=1e-6)


def test_a_batch_for_which_the_card_has_no_memory_is_halved(card: Card) -> None:
    card.numbers = 20 * 8 * 8 * 3
    feeding = gpu_images(card, 8, 64)  # type: ignore[arg-type]
    assert feeding.capacity == 16
    assert feeding.run(images(16)).shape == (16, 16)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        ("out of memory", "a batch of 1 does not run on the GPU: out of memory"),
        ("CUDA failure 700: illegal access", "a batch of 4 does not run on the GPU: CUDA failure 700"),
    ],
)
def test_a_card_that_runs_nothing_is_told(card: Card, error: str, sentence: str) -> None:
    card.numbers, card.error = 0, error
    with pytest.raises(SessionError, match=f"^{sentence}"):
        gpu_images(card, 8, 4)  # type: ignore[arg-type]


@given(count=st.integers(1, 512), most=st.integers(1, 512))
def test_padding_at_most_doubles_a_batch(count: int, most: int) -> None:
    size = fit(count, most)
    assert size == most or count <= size < 2 * count
