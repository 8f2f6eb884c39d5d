"""Image bytes to the square of pixels that the model sees, and what was done on the way.

Bytes are never trusted: what decoding takes, in memory and in time, is known before a pixel is decoded.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile

from encoder_service.bundle import ImageRules
from encoder_service.inputs.budget import MemoryBudget, Reservation
from encoder_service.inputs.errors import InputError, faults_of_the_file, too_much, truncated
from encoder_service.inputs.headers import jpeg, png
from encoder_service.inputs.headers.container import MAX_FRAMES, Container
from encoder_service.inputs.headers.formats import PLUGINS, read_file, with_facts_of
from encoder_service.inputs.pixels import WHITE, square, square_bytes, to_rgb

MIB = 1024 * 1024

# A JPEG is decoded at least this much larger than its final size. libjpeg scales in the frequency
# domain, which is not bicubic: at 2.41 x the mean difference to a full decode was at most 0.43 of 255
# over 18 photos, at 2.14 x up to 0.57, and 0.5 is the bound.
DRAFT_FACTOR = 2.25

# Seconds of a core that decoding one image may be expected to take.
MAX_SECONDS = 10.0

# What every image takes, whatever its size: objects, decoder state, allocations rounded up.
_BASE_BYTES = 2 * MIB
# Stands in for pixels that may be missing at the end of a JPEG; any bytes that are no marker would do.
_FILLER = bytes(range(1, 251))
_DIGEST_ROWS = 32
# What each sample of an undecoded row holds.
_MARK = 0xA5


@dataclass(frozen=True, slots=True)
class ImageInput:
    """What was done to an image. Sizes are as stored, before orientation was applied.

    `ignored` says what could not be read beside the pixels.
    """

    width: int
    height: int
    format: str
    orientation: int = 1
    frames: int = 1
    mode: str = "RGB"
    alpha_composited: bool = False
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OpenedImage:
    """An image whose header is read and whose pixels are not; `memory`: what `decode` takes, bytes."""

    image: ImageFile
    container: Container
    size: tuple[int, int]
    memory: int


@dataclass(frozen=True, slots=True)
class Decoded:
    """Pixels for the image graph, uint8 [size, size, 3]; what they are known by; the seconds that it took."""

    pixels: NDArray[np.uint8]
    input: ImageInput
    digest: bytes
    seconds: float


class Decoding:
    """Decodes with `threads` threads of `executor`, within `budget`, images of at most `max_bytes` each."""

    def __init__(
        self, rules: ImageRules, max_bytes: int, budget: MemoryBudget, executor: Executor, threads: int
    ) -> None:
        self.budget = budget
        self._threads = threads
        self._rules = rules
        self._max_bytes = max_bytes
        self._executor = executor

    async def decode_each(
        self, images: Sequence[bytes], take: Callable[[int, Decoded | InputError], None]
    ) -> None:
        """Hands over each image, or what is wrong with it, by its place as soon as it is there.

        A request holds no more threads than there are, so that others get their turn. Raises MemoryError.
        """
        waiting = iter(enumerate(images))

        async def work() -> None:
            for index, data in waiting:
                try:
                    take(index, await self.decode(data))
                except InputError as error:
                    take(index, error)

        workers = [asyncio.create_task(work()) for _ in range(min(self._threads, len(images)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()

    async def decode(self, data: bytes) -> Decoded:
        """One image. Raises InputError for what is wrong with it, MemoryError."""
        reservation = None
        while True:
            future = self._executor.submit(self._decode, data, reservation)
            if reservation is not None:
                future.add_done_callback(partial(self._unstarted, reservation))
            done = await asyncio.wrap_future(future)
            if isinstance(done, Decoded):
                return done
            # Its header is read again later: what waits must not hold memory meanwhile.
            reservation = await self.budget.take(done)

    def _decode(self, data: bytes, reservation: Reservation | None) -> Decoded | int:
        """The image, or the bytes that decoding it takes where they are not reserved and not free now."""
        start = time.monotonic()
        opened = None
        try:
            opened = open_image(data, self._rules, max_bytes=self._max_bytes, max_memory=self.budget.most)
            reservation = reservation or self.budget.try_take(opened.memory)
            if reservation is None:
                return opened.memory
            pixels, done = decode(opened, self._rules)
            digest = hashlib.sha256(pixels.data).digest()  # 0.1 ms for 224 x 224, without the GIL
            return Decoded(pixels, done, digest, time.monotonic() - start)
        finally:
            del opened  # and its pixels, before others are told of the memory
            if reservation is not None:
                self.budget.give_back(reservation)

    def _unstarted(self, reservation: Reservation, future: Future[Decoded | int]) -> None:
        if future.cancelled():  # before a thread took it up
            self.budget.give_back(reservation)


def open_image(data: bytes, rules: ImageRules, *, max_bytes: int, max_memory: int) -> OpenedImage:
    """Reads the header of a file of at most `max_bytes` that takes at most `max_memory` bytes to decode.

    Raises InputError with the reason IMAGE_EMPTY, IMAGE_TOO_LARGE, IMAGE_UNSUPPORTED_FORMAT,
    IMAGE_TOO_MANY_PIXELS, IMAGE_TRUNCATED or IMAGE_INVALID; MemoryError where there is less memory
    than that.
    """
    if not data:
        raise InputError("IMAGE_EMPTY", "the image is empty (0 bytes)")
    if (size := len(data)) > max_bytes:
        raise too_much("IMAGE_TOO_LARGE", f"{size} bytes, the limit is {max_bytes}", size, max_bytes)
    container = read_file(data)
    _check_cost(container.buffers, container.seconds, max_memory)
    image = _open(container)
    container = with_facts_of(image, container)
    stored = image.size
    if container.format == "JPEG":
        _draft(image, rules)
    memory = _memory(image, container, data, rules)
    _check_cost(memory, container.seconds, max_memory)
    return OpenedImage(image, container, stored, memory)


def decode(opened: OpenedImage, rules: ImageRules) -> tuple[NDArray[np.uint8], ImageInput]:
    """Decodes an opened image, once only, turned upright, in RGB and resized. Raises as `open_image`.

    Pixels are uint8 [size, size, 3].
    """
    image, container = opened.image, opened.container
    mode = image.mode
    ignored = container.ignored
    frames = container.frames
    with faults_of_the_file():
        frames = max(frames, min(int(getattr(image, "n_frames", 1)), MAX_FRAMES))
    marked = _mark_last_row(image) if container.format == "PNG" else None
    if not _load(image, container.format):
        image = _without_end(container, rules)
        ignored += ("the end marker, which is missing",)
    if marked is not None and _last_row(image) == marked and png.lacks_rows(container.data):
        raise truncated()
    # Windows leaves this byte 0 in images that have no alpha.
    opaque = container.format == "BMP" and mode == "RGBA" and _transparent(image)
    seen = image if container.drawn is None else _on_white(image, container.drawn)
    pixels, composited = square(seen, container.orientation, rules, opaque)
    composited |= container.drawn is not None
    width, height = opened.size
    done = ImageInput(
        width, height, container.format, container.orientation, frames, mode, composited, ignored
    )
    return np.asarray(pixels), done


def _open(container: Container) -> ImageFile:
    with faults_of_the_file():
        return PLUGINS[container.format](io.BytesIO(container.data))


def _load(image: ImageFile, format: str) -> bool:
    """Decodes the pixels; False for a JPEG that ends too early, whose pixels are let go."""
    try:
        with image, faults_of_the_file():
            image.load()
    except InputError as error:
        if format != "JPEG" or error.reason != "IMAGE_TRUNCATED":
            raise
        image.close()
        return False
    return True


def _memory(image: ImageFile, container: Container, data: bytes, rules: ImageRules) -> int:
    width, height = image.size
    copy = 0 if container.data is data else len(container.data)
    held = width * height * _pixel_bytes(image.mode) + container.buffers
    return _BASE_BYTES + copy + held + square_bytes(image, container.orientation, rules)


def _pixel_bytes(mode: str) -> int:
    """What Pillow stores a pixel in."""
    if mode in ("1", "L", "P"):
        return 1
    return 2 if mode.startswith("I;16") else 4


def _draft(image: Image.Image, rules: ImageRules) -> None:
    """Lets libjpeg decode at 1/2, 1/4 or 1/8 where DRAFT_FACTOR x the final size still remains."""
    width, height = image.size
    if rules.resize == "squash":
        final = (rules.edge, rules.edge)
    else:
        whole = max(width, height) * rules.pad_factor
        scale = rules.edge / min(width, height) if rules.resize == "crop" else rules.size / whole
        final = (max(1, round(width * scale)), max(1, round(height * scale)))
    image.draft(None, (math.ceil(DRAFT_FACTOR * final[0]), math.ceil(DRAFT_FACTOR * final[1])))


def _without_end(container: Container, rules: ImageRules) -> ImageFile:
    """A JPEG whose end marker is missing, if nothing else is: what is put in its place changes nothing.

    Raises InputError IMAGE_TRUNCATED where it changes the pixels.
    """
    filled = _ended(container, _FILLER, rules)
    digest = _digest(filled)
    filled.close()
    image = _ended(container, b"", rules)
    if _digest(image) != digest:
        raise truncated()
    return image


def _ended(container: Container, filler: bytes, rules: ImageRules) -> ImageFile:
    ended = replace(container, data=container.data + filler + jpeg.END)
    image = _open(ended)
    _draft(image, rules)
    with image, faults_of_the_file():
        image.load()
    return image


def _digest(image: Image.Image) -> bytes:
    """Of all pixels, a band at a time."""
    digest = hashlib.blake2b()
    for band in _bands(image):
        digest.update(band.tobytes())
    return digest.digest()


def _mark_last_row(image: ImageFile) -> bytes:
    """Fills, before it is decoded, what stays as it is where the row is missing; returns that.

    Many images end in black or in transparency; few in this.
    """
    width, height = image.size
    row = Image.new(image.mode, (width, 1), (_MARK,) * len(image.getbands()))
    ImageFile.load_prepare(image)  # the memory that is decoded into
    image.im.paste(row.im, (0, height - 1, width, height))
    return row.tobytes()


def _last_row(image: Image.Image) -> bytes:
    width, height = image.size
    return image.crop((0, height - 1, width, height)).tobytes()


def _on_white(image: Image.Image, drawn: tuple[int, int, int, int]) -> Image.Image:
    """What lies around the pixels of a file is transparent; Pillow gives it the palette's first colour."""
    flat = Image.new("RGB", image.size, WHITE)
    with faults_of_the_file():
        flat.paste(to_rgb(image.crop(drawn))[0], drawn[:2])
    return flat


def _transparent(image: Image.Image) -> bool:
    return all(band.getchannel("A").getextrema() == (0, 0) for band in _bands(image))


def _bands(image: Image.Image) -> Iterator[Image.Image]:
    for top in range(0, image.height, _DIGEST_ROWS):
        yield image.crop((0, top, image.width, min(top + _DIGEST_ROWS, image.height)))


def _check_cost(memory: int, seconds: float, most: int) -> None:
    reason = "IMAGE_TOO_MANY_PIXELS"
    if memory > most:
        needed = f"{math.ceil(memory / MIB)} MiB of memory"
        raise too_much(reason, f"decoding it takes {needed}, the limit is {most // MIB} MiB", memory, most)
    if seconds > MAX_SECONDS:
        message = f"decoding it takes about {seconds:.0f} s of a core, the limit is {MAX_SECONDS:.0f} s"
        raise too_much(reason, message, round(seconds, 1), MAX_SECONDS)
