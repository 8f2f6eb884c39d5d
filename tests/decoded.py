"""One image through the encoder's own decoding, for tests and benchmarks."""

from __future__ import annotations

from encoder_service.bundle import ImageRules
from encoder_service.inputs.images import ImageLimits, PreparedImage, decode, open_image

MIB = 1024 * 1024
LIMITS = ImageLimits(max_bytes=20 * MIB, max_memory=1024 * MIB)


def prepare_image(data: bytes, rules: ImageRules, limits: ImageLimits = LIMITS) -> PreparedImage:
    """Pixels as the image graph takes them, and what was done on the way. Raises as `open_image`."""
    return decode(open_image(data, rules, limits), rules)
