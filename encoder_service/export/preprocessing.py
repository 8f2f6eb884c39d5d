"""A checkpoint's own preprocessing, put into the manifest's words: image rules and text rules.

What the bundle's rules cannot say exactly is refused: a model fed otherwise than it was trained
answers as if nothing were wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tokenizers import Tokenizer

from encoder_service.bundle import ImageRules, TextRules
from encoder_service.export import ExportError

Family = Literal["clip", "siglip"]

Triple = tuple[float, float, float]

_INTERPOLATION: dict[int, Literal["lanczos", "bilinear", "bicubic"]] = {
    1: "lanczos",
    2: "bilinear",
    3: "bicubic",
}


@dataclass(frozen=True, slots=True)
class Normalisation:
    """`(pixel * rescale - mean) / std` per channel, pixels 0 to 255."""

    mean: Triple
    std: Triple
    rescale: float = 1 / 255

    def scale_and_shift(self) -> tuple[Triple, Triple]:
        """The same as `pixel * scale + shift`."""
        scale = tuple(self.rescale / std for std in self.std)
        shift = tuple(-mean / std for mean, std in zip(self.mean, self.std, strict=True))
        return (scale[0], scale[1], scale[2]), (shift[0], shift[1], shift[2])


def image_rules(processor: Mapping[str, Any], model_size: int) -> tuple[ImageRules, Normalisation]:
    """Reads an image processor's settings (its `to_dict()`); `model_size` is what the tower takes.

    Raises ExportError for settings that the bundle's rules cannot express.
    """
    if not processor.get("do_resize", True):
        raise ExportError("the image processor does not resize; a bundle's images have one size")
    rules = ImageRules(
        size=model_size, resize=_resize(processor, model_size), interpolation=_interpolation(processor)
    )
    identity = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    mean, std = identity
    if processor.get("do_normalize", True):
        mean, std = _triple(processor["image_mean"]), _triple(processor["image_std"])
    rescale = float(processor.get("rescale_factor", 1 / 255)) if processor.get("do_rescale", True) else 1.0
    return rules, Normalisation(mean, std, rescale)


def _resize(processor: Mapping[str, Any], model_size: int) -> Literal["crop", "squash"]:
    size, crop = _edges(processor["size"]), _edges(processor.get("crop_size") or {})
    square = {"height": model_size, "width": model_size}
    cropped = bool(processor.get("do_center_crop"))
    if size == {"shortest_edge": model_size} and cropped and crop == square:
        return "crop"
    if size == square and (not cropped or crop == square):
        return "squash"
    raise ExportError(
        f"the image processor's size {size}, do_center_crop {cropped} and crop_size {crop} cannot be said in "
        f"a manifest; for a model of {model_size} pixels it can be the shortest edge to {model_size} and "
        f"then the centre, or both edges to {model_size}"
    )


def _edges(size: Any) -> dict[str, int]:
    """A size setting without what is not set; transformers has its own mapping type for it."""
    return {k: int(v) for k, v in dict(size).items() if v is not None}


def _interpolation(processor: Mapping[str, Any]) -> Literal["lanczos", "bilinear", "bicubic"]:
    resample = int(processor.get("resample", 3))
    if resample not in _INTERPOLATION:
        raise ExportError(f"the image processor's resample {resample} is not known here: 1, 2 or 3")
    return _INTERPOLATION[resample]


def _triple(values: Any) -> Triple:
    red, green, blue = (float(v) for v in values)
    return red, green, blue


def text_rules(
    family: Family, tokenizer: Tokenizer, context_length: int, pad_id: int, end_id: int | None
) -> TextRules:
    """How texts are padded. `pad_id` is the tokenizer's; `end_id` the token that must close a text.

    CLIP's towers are causal and pool at the end-of-text token, so texts are padded to the longest of
    their batch, with that token. SigLIP was trained on lower-case text padded to its whole context.
    Raises ExportError if the tokenizer does not close texts with that token.
    """
    ids = tokenizer.encode("a").ids
    # 2 stands for the highest id (see towers.ClipText), which in CLIP's vocabulary is the end token.
    closing = max(ids, default=None) if family == "clip" and end_id == 2 else end_id
    if closing is None or not ids or ids[-1] != closing:
        raise ExportError(
            f"the tokenizer closes a text with {ids[-1:] or 'nothing'}, the model expects the token {closing}"
        )
    if family == "siglip":
        return TextRules(context_length=context_length, pad_id=pad_id, padding="max_length", lowercase=True)
    return TextRules(context_length=context_length, pad_id=closing, padding="longest")
