"""A model's own image preprocessing, put into the manifest's words.

What the bundle's rules cannot say exactly is refused: a model fed otherwise than it was trained answers as if
nothing were wrong. That the rules say it rightly is checked: `verify` compares pixels with the library's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from encoder_service.bundle import ImageRules
from encoder_service.export import ExportError
from encoder_service.export.normalisation import Normalisation

Interpolation = Literal["lanczos", "bilinear", "bicubic"]
Resize = Literal["crop", "squash", "pad"]

_INTERPOLATION: dict[int, Interpolation] = {1: "lanczos", 2: "bilinear", 3: "bicubic"}
# OpenCLIP's names, and what they are here.
_RESIZE: dict[str, Resize] = {"shortest": "crop", "squash": "squash", "longest": "pad"}


def of_transformers(processor: Mapping[str, Any]) -> tuple[ImageRules, Normalisation]:
    """Reads an image processor's settings (its `to_dict()`).

    Raises ExportError for settings that the bundle's rules cannot express.
    """
    size, crop = _edges(processor.get("size")), _edges(processor.get("crop_size"))
    resizes, crops = processor.get("do_resize", True), bool(processor.get("do_center_crop"))
    resized, squash = _edge(size), "height" in size
    kept = _edge(crop) if crops else resized
    if not resizes or not 0 < kept <= resized or not (squash or crops):
        raise ExportError(
            f"the image processor's do_resize {resizes}, size {size}, do_center_crop {crops} and crop_size "
            f"{crop} make no square image, or one that a manifest cannot describe"
        )
    resample = int(processor.get("resample", 3))
    if resample not in _INTERPOLATION:
        raise ExportError(f"the image processor's resample {resample} is not known here: 1, 2 or 3")
    rules = ImageRules(
        size=kept,
        resize="squash" if squash else "crop",
        resized=None if kept == resized else resized,
        interpolation=_INTERPOLATION[resample],
    )
    return rules, _normalisation(processor)


def _edges(size: Any) -> dict[str, int]:
    """A size setting without what is not set; transformers has its own mapping type for it."""
    return {k: int(v) for k, v in dict(size or {}).items() if v is not None}


def _edge(size: Mapping[str, int]) -> int:
    """Of a square, or of the shortest side; 0 for anything else."""
    known = size.keys() in ({"height", "width"}, {"shortest_edge"}) and len(set(size.values())) == 1
    return next(iter(size.values())) if known else 0


def _normalisation(processor: Mapping[str, Any]) -> Normalisation:
    rescale = float(processor.get("rescale_factor", 1 / 255)) if processor.get("do_rescale", True) else 1.0
    mean, std = _channels(0), _channels(1)
    if processor.get("do_normalize", True):
        mean, std = _channels(processor["image_mean"]), _channels(processor["image_std"])
    if processor.get("rescale_offset"):  # EfficientNet's: from -1 to 1
        mean = tuple(value + 1 for value in mean)
    if processor.get("include_top"):  # EfficientNet's: divided once more
        std = tuple(a * b for a, b in zip(std, _channels(processor["image_std"]), strict=True))
    return Normalisation(mean, std, rescale)


def of_open_clip(settings: Mapping[str, Any]) -> tuple[ImageRules, Normalisation]:
    """Reads OpenCLIP's `preprocess_cfg`, all fields set. Raises ExportError for images that are no square."""
    size = settings["size"]
    edges = {size} if isinstance(size, int) else {int(edge) for edge in size}
    if len(edges) != 1:
        raise ExportError(f"images of {list(size)} pixels: a bundle's are squares")
    rules = ImageRules(
        size=edges.pop(),
        resize=_RESIZE[settings["resize_mode"]],
        half_pixel="even",  # as torchvision rounds
        interpolation="bilinear" if settings["interpolation"] == "bilinear" else "bicubic",
        background=(settings["fill_color"],) * 3,
    )
    return rules, Normalisation(_channels(settings["mean"]), _channels(settings["std"]))


def _channels(values: Any) -> tuple[float, ...]:
    return (float(values),) * 3 if isinstance(values, int | float) else tuple(map(float, values))
