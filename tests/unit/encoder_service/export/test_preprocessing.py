from __future__ import annotations

from typing import Any

import pytest

from encoder_service.export import ExportError
from encoder_service.export.architectures import ARCHITECTURES, tokenizer
from encoder_service.export.preprocessing import Normalisation, image_rules, text_rules


def clip(**settings: Any) -> dict[str, Any]:
    """The configuration of a CLIP processor."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    configuration: dict[str, Any] = CLIPImageProcessorPil(**settings).to_dict()
    return configuration


def test_clip_crops_and_siglip_squashes() -> None:
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    crop, clip_values = image_rules(clip(), 224)
    siglip, siglip_values = image_rules(SiglipImageProcessorPil().to_dict(), 224)
    assert (crop.size, crop.resize, crop.interpolation) == (224, "crop", "bicubic")
    assert (siglip.size, siglip.resize, siglip.interpolation) == (224, "squash", "bicubic")
    assert clip_values.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))
    assert clip_values.std == pytest.approx((0.26862954, 0.26130258, 0.27577711))
    assert siglip_values == Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), pytest.approx(1 / 255))


def test_old_configurations_with_plain_numbers_mean_the_same() -> None:
    rules, _ = image_rules(clip(size=336, crop_size=336, resample=2), 336)
    assert (rules.size, rules.resize, rules.interpolation) == (336, "crop", "bilinear")


def test_what_is_switched_off_is_left_out() -> None:
    values = image_rules(clip(do_normalize=False, do_rescale=False), 224)[1]
    assert values == Normalisation((0, 0, 0), (1, 1, 1), 1.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": {"shortest_edge": 256}}, "shortest edge"),
        ({"do_center_crop": False}, "shortest edge"),
        ({"do_resize": False}, "does not resize"),
        ({"resample": 0}, "resample 0"),
        ({"crop_size": {"height": 224, "width": 200}}, "crop_size"),
        ({"size": 336, "crop_size": 336}, "336"),
    ],
)
def test_what_a_manifest_cannot_say_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        image_rules(clip(**settings), 224)


def test_clip_texts_are_padded_with_the_token_that_ends_them() -> None:
    made = tokenizer(ARCHITECTURES["clip-vit-tiny-test"])
    rules = text_rules("clip", made, 77, pad_id=0, end_id=2047)
    assert (rules.pad_id, rules.padding, rules.attention_mask, rules.lowercase) == (
        2047,
        "longest",
        False,
        False,
    )
    # Configurations from before 2023 say 2 and mean the highest id.
    assert text_rules("clip", made, 77, pad_id=0, end_id=2) == rules


def test_siglip_texts_are_lower_cased_and_padded_to_the_whole_context() -> None:
    made = tokenizer(ARCHITECTURES["siglip-tiny-test"])
    rules = text_rules("siglip", made, 64, pad_id=0, end_id=1)
    assert (rules.pad_id, rules.padding, rules.lowercase) == (0, "max_length", True)


def test_a_tokenizer_that_does_not_write_the_pooled_token_is_refused() -> None:
    made = tokenizer(ARCHITECTURES["siglip-tiny-test"])
    with pytest.raises(ExportError, match="expects the token 7"):
        text_rules("siglip", made, 64, pad_id=0, end_id=7)
    with pytest.raises(ExportError, match="expects the token 2047"):
        text_rules("clip", made, 77, pad_id=0, end_id=2047)
