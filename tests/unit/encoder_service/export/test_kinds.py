"""Tiny models of many kinds, of transformers and of OpenCLIP, each against its own library's answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from encoder_service.bundle import TextRules
from tests import checkpoints

WIDTH = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
IMAGE = {**WIDTH, "image_size": 32, "patch_size": 8}
SAME = 0.9999


def picture() -> Image.Image:
    y, x = np.mgrid[0:45, 0:70]
    waves = [127 + 120 * np.sin(x * y / period) for period in (900, 350, 120)]
    return Image.fromarray(np.stack(waves, axis=-1).astype(np.uint8))


def assert_same(encoder: Any, folder: Path) -> TextRules:
    from tests.models.check import check

    checked = check(encoder, folder, [picture()])
    assert min(checked.image, checked.text) >= SAME
    assert checked.notes == ()
    rules: TextRules = encoder.text
    return rules


# How the texts may be laid out, as found by trying, and what of the published sizes is made small.
LONGEST, LONGEST_MASKED, WHOLE = ("longest", False), ("longest", True), ("max_length", False)
FAMILIES: dict[str, tuple[tuple[str, bool], dict[str, Any]]] = {
    # 30 is no multiple of 14, as 384 is not.
    "google/siglip-so400m-patch14-384": (WHOLE, {"image": {"image_size": 30, "patch_size": 14}}),
    "facebook/metaclip-2-worldwide-huge-quickgelu": (LONGEST, {}),
    "OFA-Sys/chinese-clip-vit-base-patch16": (LONGEST_MASKED, {}),
    "kakaobrain/align-base": (
        LONGEST_MASKED,
        {
            "image": {
                "width_coefficient": 0.2,
                "depth_coefficient": 0.1,
                "kernel_sizes": [3, 5],
                "in_channels": [32, 16],
                "out_channels": [16, 24],
                "depthwise_padding": [],
                "strides": [1, 2],
                "num_block_repeats": [1, 1],
                "expand_ratios": [1, 6],
                "hidden_dim": 32,
                "image_size": 32,
            },
            "more": {"projection_dim": 8},
            "settings": {"size": {"height": 38, "width": 38}, "crop_size": {"height": 32, "width": 32}},
        },
    ),
    "BAAI/AltCLIP": (LONGEST_MASKED, {}),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_families_of_transformers(name: str, tmp_path: Path) -> None:
    from tests.models import kinds

    layout, small = FAMILIES[name]
    real = kinds.FAMILIES[name]
    convolutions = real.kind == "Align"
    image = small.get("image", {}) if convolutions else {**real.image, **IMAGE, **small.get("image", {})}
    vocabulary = {} if real.tokenizer == "clip" else {"vocab_size": 1400}
    text = {**real.text, **WIDTH, **vocabulary}
    size = image["image_size"]
    square = {"height": size, "width": size}
    crop = {"size": {"shortest_edge": size}, "crop_size": square}
    settings = {
        **real.settings,
        **(crop if real.processor == "CLIP" else {"size": square}),
        **small.get("settings", {}),
    }
    text |= {field: 32 for field in ("projection_size", "project_dim") if field in text}
    tiny = replace(
        real, image=image, text=text, settings=settings, more={**real.more, **small.get("more", {})}
    )
    rules = assert_same(kinds.encoder(name, tiny), tmp_path)
    assert (rules.padding, rules.attention_mask) == layout


VISION = {"image_size": 32, "patch_size": 8, "layers": 1, "width": 32, "head_width": 16}
TEXT = {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}


def timm(name: str, **more: Any) -> dict[str, Any]:
    return {
        "timm_model_name": name,
        "timm_model_pretrained": False,
        "image_size": 64,
        "timm_proj": None,
        **more,
    }


def sizes(vision: dict[str, Any], text: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"embed_dim": 24, "vision_cfg": vision, "text_cfg": {**TEXT, **(text or {})}, **more}


SIGLIP_TEXT = {
    "vocab_size": 1400,
    "tokenizer_kwargs": {"clean": "canonicalize"},
    "no_causal_mask": True,
    "proj_bias": True,
    "pool_type": "last",
}
CLIPA_TEXT = {
    "vocab_size": 1400,
    "tokenizer_kwargs": {"strip_sep_token": True},
    "no_causal_mask": True,
    "pool_type": "last",
}
SQUASH = {"interpolation": "bilinear", "resize_mode": "squash", "mean": [0.5] * 3, "std": [0.5] * 3}

# What has been published of each kind, the tokenizer, the layout of texts, model_cfg and preprocess_cfg.
OPEN_CLIP: dict[str, tuple[str | None, str, dict[str, Any], dict[str, Any]]] = {
    "ResNet: RN50": (
        None,
        "longest",
        sizes({**VISION, "layers": [1, 1, 1, 1], "width": 8}, quick_gelu=True),
        {},
    ),
    "ConvNeXt": (
        None,
        "longest",
        sizes(timm("test_convnext", timm_pool="", timm_proj="linear"), custom_text=True),
        {"resize_mode": "longest"},
    ),
    "SigLIP": (
        "t5",
        "max_length",
        sizes(timm("test_vit", timm_pool="map"), SIGLIP_TEXT, custom_text=True, init_logit_bias=-10),
        SQUASH,
    ),
    "CLIPA": (
        "word_piece",
        "max_length",
        sizes({**VISION, "no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True}, CLIPA_TEXT),
        {"resize_mode": "squash"},
    ),
    "worldwide: XLM-V": (
        "xlm_roberta",
        "longest",
        sizes(VISION, {"vocab_size": 1400, "pool_type": "eos", "eos_id": 2}),
        {},
    ),
    "CoCa": (
        None,
        "max_length",
        sizes(
            {**VISION, "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
            {"embed_cls": True, "output_tokens": True, "vocab_size": 49408},
            multimodal_cfg={"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
            custom_text=True,
        ),
        {},
    ),
}


@pytest.mark.parametrize("name", OPEN_CLIP)
def test_kinds_of_open_clip_from_a_folder(name: str, tmp_path: Path) -> None:
    from encoder_service.export.sources.load import load

    tokenizer, padding, configuration, preprocessing = OPEN_CLIP[name]
    checkpoints.open_clip(tmp_path / "model", configuration, tokenizer, preprocessing)
    encoder = load(str(tmp_path / "model"))
    assert (encoder.license, encoder.name) == ("mit", "model")
    assert encoder.scoring == ("sigmoid" if "init_logit_bias" in configuration else "softmax")
    assert assert_same(encoder, tmp_path).padding == padding


def test_a_text_tower_that_open_clip_takes_from_transformers(tmp_path: Path) -> None:
    from transformers import M2M100Config

    from encoder_service.export.sources.load import load

    sizes = {"d_model": 32, "encoder_layers": 1, "encoder_ffn_dim": 48, "encoder_attention_heads": 2}
    M2M100Config(vocab_size=1400, decoder_layers=1, **sizes).save_pretrained(tmp_path / "text")
    text = {
        "hf_model_name": str(tmp_path / "text"),
        "hf_proj_type": "linear",
        "hf_pooler_type": "cls_pooler",
        "context_length": 24,
    }
    sized = {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": text}
    checkpoints.open_clip(tmp_path / "model", sized, "nllb", {})
    assert assert_same(load(str(tmp_path / "model")), tmp_path).padding == "longest"
