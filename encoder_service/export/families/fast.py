"""Towers of families that can be made faster; every other tower runs by its library's own code.

To add a family: a file that makes its towers of a model, giving what the model's own give, and a line here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from encoder_service.export.families import clip, fastvit, siglip
from encoder_service.export.normalisation import Normalisation

# By the family's name: transformers', or "open_clip" for all models of OpenCLIP. None: it has no faster one.
FAST_IMAGE: dict[str, Callable[[Any, Normalisation], nn.Module | None]] = {
    **dict.fromkeys(("clip", "metaclip_2", "chinese_clip", "altclip"), clip.Image),
    "siglip": siglip.Image,
    "open_clip": fastvit.image,
}
FAST_TEXT: dict[str, Callable[[Any], nn.Module]] = {"clip": clip.Text, "siglip": siglip.Text}
