"""The two towers: images or texts in, vectors out; the one place that knows the order of steps.

    image: admit -> decode -> batch -> vector
    text:  cached? -> admit -> tokens -> batch -> vector

Each image goes to the batcher as soon as it is decoded. An input that is wrong fails alone; anything else
fails the call.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from clipsearch.serving.deadline import deadline
from clipsearch.serving.errors import InvalidArgument, ResourceExhausted
from encoder_service.bundle import Manifest, Precision, Tower
from encoder_service.inputs.errors import InputError
from encoder_service.inputs.images import Decoded, Decoding, ImageInput
from encoder_service.inputs.texts import TextInput, TextTokenizer, Tokens, check_text
from encoder_service.queue.admission import Admission
from encoder_service.queue.batcher import Batcher, Computed
from encoder_service.queue.cache import TextCache

# When a caller is to try again for whom there was not enough memory.
_RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Encoded:
    """A vector, float32 [dimension], L2-normalised; what was done to its input; where its time went."""

    vector: NDArray[np.float32]
    input: TextInput | ImageInput
    preprocess_s: float = 0.0
    queue_s: float = 0.0
    infer_s: float = 0.0


Outcome: TypeAlias = Encoded | InvalidArgument
# Hears of the inputs of each call that was answered.
Observe: TypeAlias = Callable[[Tower, Sequence[Outcome]], None]


@dataclass(frozen=True, slots=True)
class Running:
    """What runs: the graphs' precisions and the ONNX Runtime provider."""

    image_precision: Precision
    text_precision: Precision
    provider: str


@dataclass(frozen=True, slots=True)
class ImageTower:
    """The parts that an image passes through."""

    batcher: Batcher[NDArray[np.uint8]]
    admission: Admission
    decoding: Decoding


@dataclass(frozen=True, slots=True)
class TextTower:
    """The parts that a text passes through; `tokenisers` are the threads for that."""

    batcher: Batcher[Tokens]
    admission: Admission
    tokenizer: TextTokenizer
    tokenisers: Executor
    cache: TextCache
    max_bytes: int


class Encoder:
    """Encodes with one model.

    Admission refuses what would miss the call's deadline, the queue goes by it, and whoever calls cancels the
    call when it has passed.
    """

    def __init__(
        self,
        manifest: Manifest,
        running: Running,
        images: ImageTower,
        texts: TextTower,
        observe: Observe = lambda tower, outcomes: None,
    ) -> None:
        self.manifest = manifest
        self.running = running
        self.images = images
        self.texts = texts
        self._observe = observe

    async def encode_images(self, images: Sequence[bytes]) -> list[Outcome]:
        """One outcome an image, in order.

        Raises ResourceExhausted, DeadlineExceeded, Unavailable.
        """
        tower = self.images
        start = time.monotonic()
        outcomes: dict[int, Outcome] = {}
        decoded: list[tuple[int, Decoded, float]] = []

        def take(index: int, image: Decoded | InputError) -> None:
            if isinstance(image, InputError):
                outcomes[index] = _refused(image, f"images[{index}]")
                done()
            else:
                decoded.append((index, image, time.monotonic() - start - image.seconds))
                group.submit([image.pixels], [image.digest])

        with (
            tower.admission.admit(len(images), sum(map(len, images)), deadline()) as done,
            tower.batcher.group(deadline(), done) as group,
        ):
            try:
                await tower.decoding.decode_each(images, take)
            except MemoryError as error:  # the server's lack, not an image's fault
                raise ResourceExhausted("decoding ran out of memory", "OUT_OF_MEMORY", _RETRY_S) from error
            for (index, image, waited_s), computed in zip(decoded, await group.answers(), strict=True):
                outcomes[index] = _encoded(computed, image.input, image.seconds, waited_s)
        answers = [outcomes[index] for index in range(len(images))]
        self._observe("image", answers)
        return answers

    async def encode_pixels(self, pixels: NDArray[np.uint8]) -> list[Outcome]:
        """One outcome an image of uint8 [count, size, size, 3]. Raises as `encode_images`."""
        tower = self.images
        size = self.manifest.image.size
        raw = ImageInput(size, size, "RAW")
        with (
            tower.admission.admit(len(pixels), pixels.nbytes, deadline()) as done,
            tower.batcher.group(deadline(), done) as group,
        ):
            group.submit(list(pixels))
            outcomes: list[Outcome] = [_encoded(computed, raw) for computed in await group.answers()]
        self._observe("image", outcomes)
        return outcomes

    async def encode_texts(self, texts: Sequence[str]) -> list[Outcome]:
        """One outcome a text, in order. Raises as `encode_images`."""
        outcomes: dict[str, Encoded | InputError] = {}
        fresh: list[str] = []
        for text in dict.fromkeys(texts):
            try:
                check_text(text, self.texts.max_bytes)
            except InputError as error:
                outcomes[text] = error
                continue
            known = self.texts.cache.get(text)
            if known is None:
                fresh.append(text)
            else:
                outcomes[text] = Encoded(known.vector, known.input)
        if fresh:
            outcomes.update(await self._fresh_texts(fresh))
        # A text that is there twice was encoded once.
        self._observe("text", [_placed(outcome, "texts") for outcome in outcomes.values()])
        return [_placed(outcomes[text], f"texts[{index}]") for index, text in enumerate(texts)]

    async def _fresh_texts(self, texts: list[str]) -> dict[str, Encoded | InputError]:
        tower = self.texts
        size = sum(len(text.encode()) for text in texts)
        with (
            tower.admission.admit(len(texts), size, deadline()) as done,
            tower.batcher.group(deadline(), done) as group,
        ):
            start = time.monotonic()
            ids = await tower.tokenizer.tokenise(texts, tower.tokenisers)
            preprocess_s = time.monotonic() - start
            tokenised = dict(zip(texts, ids, strict=True))
            outcomes: dict[str, Encoded | InputError] = {}
            for text in [text for text, tokens in tokenised.items() if tokens.empty]:
                del tokenised[text]
                outcomes[text] = InputError("TEXT_EMPTY", "nothing that the model's tokenizer keeps")
                done()
            group.submit(list(tokenised.values()), list(tokenised))
            for (text, tokens), computed in zip(tokenised.items(), await group.answers(), strict=True):
                outcomes[text] = _encoded(computed, tokens.input, preprocess_s)
                tower.cache.put(text, computed.vector, tokens.input)
        return outcomes


def _encoded(
    computed: Computed, done: TextInput | ImageInput, preprocess_s: float = 0.0, waited_s: float = 0.0
) -> Encoded:
    return Encoded(computed.vector, done, preprocess_s, waited_s + computed.queue_s, computed.infer_s)


def _refused(error: InputError, field: str) -> InvalidArgument:
    """The error of one input, with the input's place in the request."""
    return InvalidArgument(field, error.message, error.reason, error.metadata)


def _placed(outcome: Encoded | InputError, field: str) -> Outcome:
    return _refused(outcome, field) if isinstance(outcome, InputError) else outcome
