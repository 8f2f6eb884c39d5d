"""One image through the encoder's own decoding, for tests and benchmarks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from encoder_service.bundle import ImageRules
from encoder_service.inputs.images import ImageInput, decode, open_image

MIB = 1024 * 1024


class Prepared(NamedTuple):
    """Pixels as the image graph takes them, uint8 [size, size, 3], and what was done on the way."""

    pixels: NDArray[np.uint8]
    input: ImageInput


def prepare_image(
    data: bytes, rules: ImageRules, *, max_bytes: int = 20 * MIB, max_memory: int = 1024 * MIB
) -> Prepared:
    """Opens and decodes. Raises as `open_image`."""
    return Prepared(*decode(open_image(data, rules, max_bytes=max_bytes, max_memory=max_memory), rules))
