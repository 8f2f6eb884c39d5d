"""The two towers: images or texts in, vectors out; the one place that knows the order of steps.

    image: in flight already? -> decode -> batch -> vector
    text:  cached? -> tokens -> in flight already? -> batch -> vector

An input that is wrong fails alone; anything else fails the call.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from clipsearch.serving.errors import InvalidArgument
from clipsearch.serving.together import together
from encoder_service.bundle import Manifest, Precision, Tower
from encoder_service.inputs.decoding import Decoding
from encoder_service.inputs.errors import InputError
from encoder_service.inputs.images import ImageInput
from encoder_service.inputs.texts import TextInput, Tokens, check_text
from encoder_service.inputs.tokenising import Tokenising
from encoder_service.queue.admission import Admission
from encoder_service.queue.batcher import Batcher, Computed
from encoder_service.queue.cache import SingleFlight, TextCache


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
    """The parts that a text passes through."""

    batcher: Batcher[Tokens]
    admission: Admission
    tokenising: Tokenising
    cache: TextCache
    max_bytes: int


class Encoder:
    """Encodes with one model.

    Deadlines are seconds of time.monotonic(), math.inf = none. Admission refuses what would miss its own, the
    queue goes by them, and whoever calls cancels the call when one has passed.
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
        self._images = images
        self._texts = texts
        self._observe = observe
        self._image_flights: SingleFlight[bytes, Encoded] = SingleFlight()
        self._text_flights: SingleFlight[str, Encoded] = SingleFlight()

    async def encode_images(self, images: Sequence[bytes], deadline: float) -> list[Outcome]:
        """One outcome an image, in order.

        Raises ResourceExhausted, DeadlineExceeded, Unavailable.
        """
        tower = self._images
        # A request holds no more decoding threads than there are, so that others get their turn.
        workers = asyncio.Semaphore(tower.decoding.threads)

        async def encode(index: int, data: bytes) -> Outcome:
            try:
                encoded = await self._image_flights.run(
                    data, lambda: self._image(data, index, deadline, workers)
                )
            except InputError as error:
                done()
                return _refused(error, f"images[{index}]")
            done()
            return encoded

        with tower.admission.admit(len(images), sum(map(len, images)), deadline) as done:
            outcomes = await together([encode(index, data) for index, data in enumerate(images)])
        self._observe("image", outcomes)
        return outcomes

    async def encode_pixels(self, pixels: NDArray[np.uint8], deadline: float) -> list[Outcome]:
        """One outcome an image of uint8 [count, size, size, 3]. Raises as `encode_images`."""
        tower = self._images
        size = self.manifest.image.size
        raw = ImageInput(size, size, "RAW")

        async def encode(index: int) -> Outcome:
            computed = await tower.batcher.compute(pixels[index], deadline, ahead=index)
            done()
            return _encoded(computed, raw, 0.0, 0.0)

        with tower.admission.admit(len(pixels), pixels.nbytes, deadline) as done:
            outcomes = await together([encode(index) for index in range(len(pixels))])
        self._observe("image", outcomes)
        return outcomes

    async def encode_texts(self, texts: Sequence[str], deadline: float) -> list[Outcome]:
        """One outcome a text, in order. Raises as `encode_images`."""
        outcomes: dict[str, Encoded | InputError] = {}
        fresh: list[str] = []
        for text in dict.fromkeys(texts):
            try:
                check_text(text, self._texts.max_bytes)
            except InputError as error:
                outcomes[text] = error
                continue
            known = self._texts.cache.get(text)
            if known is None:
                fresh.append(text)
            else:
                outcomes[text] = Encoded(known.vector, known.input)
        if fresh:
            outcomes.update(zip(fresh, await self._fresh_texts(fresh, deadline), strict=True))
        # A text that is there twice was encoded once.
        self._observe("text", [_placed(outcome, "texts") for outcome in outcomes.values()])
        return [_placed(outcomes[text], f"texts[{index}]") for index, text in enumerate(texts)]

    async def _fresh_texts(self, texts: list[str], deadline: float) -> list[Encoded | InputError]:
        tower = self._texts
        size = sum(len(text.encode()) for text in texts)
        with tower.admission.admit(len(texts), size, deadline) as done:
            start = time.monotonic()
            tokenised = await tower.tokenising.tokenise(texts)
            preprocess_s = time.monotonic() - start
            ahead = 0
            work = []
            for text, tokens in zip(texts, tokenised, strict=True):
                work.append(self._flying_text(text, tokens, ahead, deadline, preprocess_s, done))
                ahead += len(tokens.ids)
            return await together(work)

    async def _flying_text(
        self,
        text: str,
        tokens: Tokens,
        ahead: int,
        deadline: float,
        preprocess_s: float,
        done: Callable[[], None],
    ) -> Encoded | InputError:
        if tokens.empty:
            done()
            return InputError("TEXT_EMPTY", "nothing that the model's tokenizer keeps")
        encoded = await self._text_flights.run(
            text, lambda: self._text(text, tokens, ahead, deadline, preprocess_s)
        )
        done()
        return encoded

    async def _text(
        self, text: str, tokens: Tokens, ahead: int, deadline: float, preprocess_s: float
    ) -> Encoded:
        computed = await self._texts.batcher.compute(tokens, deadline, ahead)
        encoded = _encoded(computed, tokens.input, preprocess_s, 0.0)
        self._texts.cache.put(text, encoded.vector, tokens.input)
        return encoded

    async def _image(self, data: bytes, index: int, deadline: float, workers: asyncio.Semaphore) -> Encoded:
        start = time.monotonic()
        async with workers:
            image, decode_s = await self._images.decoding.decode(data)
        waited_s = time.monotonic() - start - decode_s
        computed = await self._images.batcher.compute(image.pixels, deadline, ahead=index)
        return _encoded(computed, image.input, decode_s, waited_s)


def _encoded(
    computed: Computed, done: TextInput | ImageInput, preprocess_s: float, waited_s: float
) -> Encoded:
    return Encoded(computed.vector, done, preprocess_s, waited_s + computed.queue_s, computed.infer_s)


def _refused(error: InputError, field: str) -> InvalidArgument:
    """The error of one input, with the input's place in the request."""
    return InvalidArgument(field, error.message, error.reason, error.metadata)


def _placed(outcome: Encoded | InputError, field: str) -> Outcome:
    return _refused(outcome, field) if isinstance(outcome, InputError) else outcome
