from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from PIL import Image

from encoder_service.bundle import ImageRules
from encoder_service.export import ExportError
from encoder_service.export.normalisation import Normalisation
from encoder_service.export.sources.preprocessing import of_open_clip, of_transformers
from encoder_service.inputs import pixels
from encoder_service.inputs.pixels import fit


def clip(**settings: Any) -> dict[str, Any]:
    """The configuration of a CLIP processor."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    configuration: dict[str, Any] = CLIPImageProcessorPil(**settings).to_dict()
    return configuration


def test_clip_crops_and_siglip_squashes() -> None:
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    crop, clip_values = of_transformers(clip())
    siglip, siglip_values = of_transformers(SiglipImageProcessorPil().to_dict())
    assert (crop.size, crop.resize, crop.interpolation) == (224, "crop", "bicubic")
    assert (siglip.size, siglip.resize, siglip.interpolation) == (224, "squash", "bicubic")
    assert clip_values.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))
    assert clip_values.std == pytest.approx((0.26862954, 0.26130258, 0.27577711))
    assert siglip_values == Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), pytest.approx(1 / 255))


def test_old_configurations_with_plain_numbers_mean_the_same() -> None:
    rules, _ = of_transformers(clip(size=336, crop_size=336, resample=2))
    assert (rules.size, rules.resize, rules.interpolation) == (336, "crop", "bilinear")


def test_what_is_switched_off_is_left_out() -> None:
    values = of_transformers(clip(do_normalize=False, do_rescale=False))[1]
    assert values == Normalisation((0, 0, 0), (1, 1, 1), 1.0)


def test_more_than_is_kept_can_be_resized_and_efficientnet_rescales_to_both_sides_of_0() -> None:
    from transformers.models.efficientnet.image_processing_pil_efficientnet import (
        EfficientNetImageProcessorPil,
    )

    square = {"height": 289, "width": 289}
    align = EfficientNetImageProcessorPil(
        crop_size=square,
        do_center_crop=True,
        rescale_factor=1 / 127.5,
        rescale_offset=True,
        do_normalize=False,
    )
    rules, values = of_transformers(align.to_dict())
    assert (rules.size, rules.resize, rules.resized) == (289, "squash", 346)
    assert values.mean == (1, 1, 1)
    assert values.scale_and_shift()[0] == pytest.approx([1 / 127.5 / 0.5] * 3)
    rules, _ = of_transformers(clip(size={"shortest_edge": 256}))
    assert (rules.size, rules.resize, rules.resized) == (224, "crop", 256)


SHAPES = [(97, 300), (230, 151), (64, 65), (301, 100)]


def picture(shape: tuple[int, int]) -> Image.Image:
    """With detail at every scale."""
    y, x = np.mgrid[0 : shape[1], 0 : shape[0]]
    waves = [127 + 120 * np.sin(x * y / period) for period in (900, 350, 120)]
    return Image.fromarray(np.stack(waves, axis=-1).astype(np.uint8))


def assert_same_pixels(shape: tuple[int, int], rules: ImageRules, values: Normalisation, own: Any) -> None:
    """`own` is what the library makes of the picture, normalised; a step of 255 is rounding."""
    scale, shift = (np.array(v).reshape(3, 1, 1) for v in values.scale_and_shift())
    steps = (np.asarray(own(picture(shape))) - shift) / scale
    ours = np.asarray(fit(picture(shape), rules), np.float64).transpose(2, 0, 1)
    assert np.abs(steps - ours).max() < 1.01
    assert np.abs(steps - ours).mean() < 0.02


@pytest.fixture
def by_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    """As both libraries resize; by SIMD it is 0.2 of 255 away, which would hide half a pixel."""
    monkeypatch.setattr(pixels, "simd", None)


@pytest.mark.usefixtures("by_pillow")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", ["shortest", "squash", "longest"])
def test_open_clips_own_pixels(mode: str, shape: tuple[int, int]) -> None:
    from open_clip.transform import PreprocessCfg, image_transform_v2

    interpolation = "bilinear" if mode == "squash" else "bicubic"
    settings = PreprocessCfg(size=64, resize_mode=mode, interpolation=interpolation, fill_color=7)
    rules, values = of_open_clip(asdict(settings))
    assert_same_pixels(shape, rules, values, image_transform_v2(settings, is_train=False))


@pytest.mark.usefixtures("by_pillow")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["align", "crop of more"])
def test_transformers_own_pixels(name: str, shape: tuple[int, int]) -> None:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.efficientnet.image_processing_pil_efficientnet import (
        EfficientNetImageProcessorPil,
    )

    square = {"height": 64, "width": 64}
    processor = {
        "align": lambda: EfficientNetImageProcessorPil(
            size={"height": 77, "width": 77},
            crop_size=square,
            do_center_crop=True,
            resample=2,
            include_top=True,
        ),
        "crop of more": lambda: CLIPImageProcessorPil(size={"shortest_edge": 73}, crop_size=square),
    }[name]()
    rules, values = of_transformers(processor.to_dict())
    assert_same_pixels(shape, rules, values, lambda image: processor(image)["pixel_values"][0])


@pytest.mark.parametrize(("mode", "resize"), [("shortest", "crop"), ("squash", "squash"), ("longest", "pad")])
def test_open_clips_words_are_said_in_ours(mode: str, resize: str) -> None:
    settings = {"size": (32, 32), "mean": (0, 0, 0), "std": (1, 1, 1), "fill_color": 7}
    rules, _ = of_open_clip({**settings, "interpolation": "random", "resize_mode": mode})
    assert (rules.size, rules.resize, rules.interpolation) == (32, resize, "bicubic")
    assert rules.background == (7, 7, 7)
    with pytest.raises(ExportError, match="squares"):
        of_open_clip({**settings, "size": (32, 48), "interpolation": "bicubic", "resize_mode": mode})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": {"shortest_edge": 200}}, "crop_size"),
        ({"do_center_crop": False}, "do_center_crop False"),
        ({"do_resize": False}, "do_resize False"),
        ({"resample": 0}, "resample 0"),
        ({"crop_size": {"height": 224, "width": 200}}, "crop_size"),
    ],
)
def test_what_a_manifest_cannot_say_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        of_transformers(clip(**settings))
