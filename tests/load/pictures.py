"""Images made from numbers: no two alike, sized like photographs, no file or network needed."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
from PIL import Image

from tests.bench.encoder.corpus import SMALL, stamped

_BASES = 12
# Photographs have much in the coarse and little in the fine: amplitude falls with frequency.
_OCTAVES = ((5, 4), (10, 8), (20, 15), (40, 30), (80, 60), (160, 120))


@cache
def base_pictures() -> list[bytes]:
    """640x480 JPEGs of coloured noise with the spectrum of photographs."""
    return [_jpeg(number) for number in range(_BASES)]


def picture(bases: list[bytes], number: int) -> bytes:
    """An image of other bytes for each number: the encoder's single flight and caches cannot help."""
    return stamped(bases[number % len(bases)], number)


def _jpeg(number: int) -> bytes:
    rng = np.random.default_rng(number)
    pixels = np.full((SMALL[1], SMALL[0], 3), 128.0, np.float32)
    for octave, size in enumerate(_OCTAVES):
        noise = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
        layer = np.asarray(noise.resize(SMALL, Image.Resampling.BICUBIC), np.float32) - 128
        pixels += layer * 0.75 / 1.8**octave
    pixels += rng.standard_normal(pixels.shape[:2], dtype=np.float32)[..., None] * 3.5  # a sensor's grain
    encoded = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(encoded, "JPEG", quality=90)
    return encoded.getvalue()
