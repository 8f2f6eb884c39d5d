"""What the benchmark sends: photographs as JPEG bytes, and queries of 3 to 12 words.

Everything is made from numbers: the same number gives the same image or query on every machine,
and two numbers never give the same bytes, so that no cache and no single flight can help.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from clipsearch.downloads.samples import write_samples

SMALL = (640, 480)
LARGE = (4000, 3000)
SMALL_COUNT = 256
LARGE_COUNT = 16
_MADE = "made-3"  # the marker of a whole corpus; count it up when the recipe changes

# 256 common words.
_VOCABULARY = Path(__file__).with_name("words.txt").read_text(encoding="utf-8").split()


def query(number: int) -> str:
    """The query of this number: 3 to 12 common words, no two numbers below 2**24 alike."""
    # The first three words spell the number, scattered by an odd multiplier: 256 ** 3 = 2 ** 24.
    scattered = number * 0x9E3779B1 % 2**24
    digits = [scattered >> 16, scattered >> 8 & 255, scattered & 255]
    rest = np.random.default_rng(number)
    digits += rest.integers(0, len(_VOCABULARY), size=rest.integers(0, 10)).tolist()
    return " ".join(_VOCABULARY[digit] for digit in digits)


def stamped(jpeg: bytes, number: int) -> bytes:
    """The same image with the number in a JPEG comment: other bytes, other hash, same pixels."""
    comment = number.to_bytes(8, "big")
    return b"".join((jpeg[:2], b"\xff\xfe", (len(comment) + 2).to_bytes(2, "big"), comment, jpeg[2:]))


def make_corpus(folder: Path) -> None:
    """Writes the images into `folder` unless they are there."""
    if (folder / _MADE).exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    photos = _colour_photos(write_samples(folder / "samples"))
    for name, count, make in (("small", SMALL_COUNT, _small), ("large", LARGE_COUNT, _large)):
        (folder / name).mkdir()
        for number in range(count):
            picture = make(photos, np.random.default_rng(number))
            picture.save(folder / name / f"{number:04}.jpg", quality=90)
    (folder / _MADE).touch()


def small_pictures(folder: Path) -> list[bytes]:
    """640x480 JPEGs."""
    return _read(folder / "small")


def large_pictures(folder: Path) -> list[bytes]:
    """4000x3000 JPEGs, as a phone takes them."""
    return _read(folder / "large")


def _read(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("*.jpg"))]


def _colour_photos(paths: Sequence[Path]) -> list[Image.Image]:
    """Those with colour: a grey JPEG decodes faster than what people send."""
    pictures = [Image.open(path) for path in paths]
    return [picture.convert("RGB") for picture in pictures if picture.mode in ("RGB", "RGBA")]


def _small(photos: Sequence[Image.Image], rng: np.random.Generator) -> Image.Image:
    return _with_grain(_crop(photos, rng, SMALL), rng)


def _large(photos: Sequence[Image.Image], rng: np.random.Generator) -> Image.Image:
    """Twelve crops side by side: one sample enlarged to 12 megapixels would lack all fine detail."""
    picture = Image.new("RGB", LARGE)
    for left in range(0, LARGE[0], 1000):
        for top in range(0, LARGE[1], 1000):
            picture.paste(_crop(photos, rng, (1000, 1000)), (left, top))
    return _with_grain(picture, rng)


def _crop(photos: Sequence[Image.Image], rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    photo = photos[int(rng.integers(len(photos)))]
    scale = min(photo.width / size[0], photo.height / size[1]) * rng.uniform(0.6, 1.0)
    width, height = size[0] * scale, size[1] * scale
    left, top = rng.uniform(0, photo.width - width), rng.uniform(0, photo.height - height)
    box = (left, top, left + width, top + height)
    crop = photo.resize(size, Image.Resampling.BICUBIC, box=box)
    return ImageOps.mirror(crop) if rng.random() < 0.5 else crop


def _with_grain(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Adds the noise of a camera's sensor, which enlarged crops have lost."""
    pixels = np.asarray(picture).astype(np.float32)
    grain = rng.standard_normal(pixels.shape[:2], dtype=np.float32)[..., None] * 3.5
    return Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8))
