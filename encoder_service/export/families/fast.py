"""Hand-written towers of families that they make faster; every other family runs by its library's own code.

To add one: a file with two modules, `Image(model, normalisation)` and `Text(model)`, which give what the
model's own towers give, and a line here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from encoder_service.export.families import clip, siglip
from encoder_service.export.sources.preprocessing import Normalisation

ImageOf = Callable[[Any, Normalisation], nn.Module]
TextOf = Callable[[Any], nn.Module]

# By transformers' name of the family.
FAST: dict[str, tuple[ImageOf, TextOf]] = {
    "clip": (clip.Image, clip.Text),
    "siglip": (siglip.Image, siglip.Text),
}
