"""Working in bands changes next to nothing: against converting and turning the whole image first."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from encoder_service.bundle import ImageRules
from encoder_service.inputs import pixels
from encoder_service.inputs.pixels import _UPRIGHT, fit, square, to_rgb


@pytest.mark.parametrize("mode", ["RGBA", "L", "LA", "P", "CMYK", "I;16", "RGB"])
@pytest.mark.parametrize("resize", ["crop", "pad", "squash"])
def test_an_image_in_bands_is_the_image_that_was_worked_on_as_a_whole(
    mode: str, resize: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixels, "simd", None)  # bands are Pillow's
    rng = np.random.default_rng(4)
    rules = ImageRules(size=32, resize=resize, pad_factor=1.2 if resize == "pad" else 1.0)
    for width, height in ((97, 61), (40, 300), (301, 33)):
        if mode == "I;16":
            image = Image.fromarray(rng.integers(0, 65_536, (height, width), dtype=np.uint16))
        else:
            noise = rng.integers(0, 256, (height, width, 4), dtype=np.uint8)
            image = Image.fromarray(noise, "RGBA").convert(mode)
        for orientation in range(1, 9):
            whole, over_white = to_rgb(image)
            if orientation != 1:
                whole = whole.transpose(_UPRIGHT[orientation])
            plain = np.asarray(fit(whole, rules))
            with monkeypatch.context() as patch:
                assert np.array_equal(np.asarray(square(image, orientation, rules)[0]), plain)
                patch.setattr(pixels, "_BAND", 500)
                banded, composited = square(image, orientation, rules)
            assert composited == over_white
            difference = np.abs(np.asarray(banded).astype(int) - plain).mean()
            if whole.width < whole.height:  # Pillow's two passes change places
                assert difference < 0.5, orientation
            else:
                assert difference < 0.002, orientation
