"""Our session: tensors in the host's memory in, vectors there out, as the service runs it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoder_service.bundle import Precision, Tower
from encoder_service.export.parity import cosines
from encoder_service.inputs.texts import TextInput, Tokens
from encoder_service.machine import available_cpus
from encoder_service.runtime.gpu import gpu_images, gpu_texts
from encoder_service.runtime.providers import ProviderName
from encoder_service.runtime.session import OnnxSession, plain_images, plain_texts
from tests.bench.gpu.model import TOKENS, Model
from tests.bench.gpu.timing import p50_ms, rate

Run = Callable[[Sequence[Any]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Ours:
    """Both towers on a provider."""

    model: Model
    runs: dict[Tower, Run]

    def rate(self, tower: Tower, batch: int, seconds: float) -> float:
        """Items a second in batches of this size, two of them in flight."""
        items, run = some_items(self.model, tower, batch), self.runs[tower]
        return rate(lambda: run(items), batch, seconds, threads=2)

    def p50_ms(self, seconds: float) -> float:
        """Median milliseconds of one image."""
        items, run = some_items(self.model, "image", 1), self.runs["image"]
        return p50_ms(lambda: run(items), seconds)

    def lowest_cosine(self, tower: Tower, count: int) -> float:
        """Of vectors to those of fp32 on the CPU."""
        items, model = some_items(self.model, tower, count), self.model
        exact = OnnxSession(model.graphs[tower, "fp32"], "cpu", available_cpus())
        run: Run = plain_images(exact).run if tower == "image" else plain_texts(exact, model.text).run
        return float(cosines(self.runs[tower](items), run(items)).min())

    def memory_growth(self, batches: int, largest: int, used: Callable[[], int]) -> int:
        """Bytes by which `used` grows over so many batches of both towers, their sizes drawn at random.

        The first twentieth does not count: what it takes, it keeps.
        """
        sizes = random.Random(0)
        items = {tower: some_items(self.model, tower, largest) for tower in self.runs}
        before = 0
        for number in range(batches):
            if number == batches // 20:
                before = used()
            for tower, run in self.runs.items():
                run(items[tower][: sizes.randint(1, largest)])
        return used() - before


def open_ours(model: Model, provider: ProviderName, precision: Precision, largest: int) -> Ours:
    """Both towers as a card runs them, for up to `largest` items; on the CPU the same without a card."""
    image, text = (
        OnnxSession(model.graphs[tower, precision], provider, available_cpus()) for tower in ("image", "text")
    )
    return Ours(
        model,
        {
            "image": gpu_images(image, model.image.size, largest).run,
            "text": gpu_texts(text, model.text, largest * 16).run,
        },
    )


def some_items(model: Model, tower: Tower, count: int) -> list[Any]:
    """Images of noise, or texts of 12 words."""
    numbers = np.random.default_rng(count)
    if tower == "image":
        return list(numbers.integers(0, 256, (count, model.image.size, model.image.size, 3), dtype=np.uint8))
    end = model.vocabulary - 1
    ids = numbers.integers(2, end, (count, TOKENS))
    return [Tokens((*map(int, row[:-1]), end), TextInput(TOKENS)) for row in ids]
