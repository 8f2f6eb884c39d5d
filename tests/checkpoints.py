"""Folders with checkpoints laid out as published ones are, with tiny random weights of the real classes.

Whoever collects the tests imports this: torch, which takes seconds to load, waits for the first folder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from encoder_service.export.sources.architectures import ARCHITECTURES, tokenizer
from encoder_service.export.sources.bpe import bpe

CARD = "---\nlicense: mit\n---\n# A model\n"


def clip(folder: Path, **options: Any) -> tuple[Any, Any]:
    """As those of today: safetensors, in one file or in shards, tokenizer.json. The model, the processor."""
    from transformers import CLIPProcessor, CLIPTokenizer

    from encoder_service.export.sources.random_weights import random_model

    shape = ARCHITECTURES["clip-vit-tiny-test"]
    parts = json.loads(tokenizer(shape).to_str())["model"]
    pairs = [tuple(pair) for pair in parts["merges"]]
    processor = CLIPProcessor(shape.processor(), CLIPTokenizer(parts["vocab"], pairs, model_max_length=77))
    return _saved(folder, random_model(shape, 5), processor, **options)


def siglip(folder: Path) -> tuple[Any, Any]:
    """The same of SigLIP."""
    from transformers import PreTrainedTokenizerFast, SiglipProcessor

    from encoder_service.export.sources.random_weights import random_model

    shape = ARCHITECTURES["siglip-tiny-test"]
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer(shape), pad_token="<pad>", eos_token="</s>", model_max_length=64
    )
    return _saved(folder, random_model(shape, 5), SiglipProcessor(shape.processor(), fast))


def old_clip(folder: Path) -> Any:
    """As OpenAI's of 2021: .bin only, buffers in it, a feature extractor, a vocabulary and its merges."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    from encoder_service.export.sources.random_weights import random_model

    tiny = random_model(ARCHITECTURES["clip-vit-tiny-test"], 1).config
    # The whole vocabulary: the file is then larger than what huggingface_hub writes at once.
    ends = {"vocab_size": 49408, "bos_token_id": 49406, "eos_token_id": 49407}
    text = tiny.text_config.to_dict() | {"hidden_size": 64, **ends}
    configuration = CLIPConfig(
        text_config=text, vision_config=tiny.vision_config.to_dict(), projection_dim=tiny.projection_dim
    )
    torch.manual_seed(1)
    model = CLIPModel(configuration).eval()
    image = model.vision_model.embeddings
    buffers = {
        "text_model.embeddings.position_ids": torch.arange(text["max_position_embeddings"])[None],
        "vision_model.embeddings.position_ids": torch.arange(image.num_positions)[None],
    }
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({**model.state_dict(), **buffers}, folder / "pytorch_model.bin")
    for other in ("flax_model.msgpack", "tf_model.h5"):
        (folder / other).write_bytes(b"what other frameworks read")
    parts = json.loads(bpe().to_str())["model"]
    merges = [" ".join(pair) for pair in parts["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
    end = "<|endoftext|>"
    files = {
        "config.json": configuration.to_dict(),
        "preprocessor_config.json": {
            "crop_size": image.image_size,
            "do_center_crop": True,
            "do_normalize": True,
            "do_resize": True,
            "feature_extractor_type": "CLIPFeatureExtractor",
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_std": [0.26862954, 0.26130258, 0.27577711],
            "resample": 3,
            "size": image.image_size,
        },
        "vocab.json": parts["vocab"],
        "tokenizer_config.json": {
            "tokenizer_class": "CLIPTokenizer",
            "model_max_length": 77,
            "bos_token": "<|startoftext|>",
            **dict.fromkeys(("eos_token", "pad_token", "unk_token"), end),
        },
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    (folder / "README.md").write_text(CARD)
    return model


def open_clip(
    folder: Path, configuration: dict[str, Any], tokenizer: str | None, preprocessing: dict[str, Any]
) -> Any:
    """As OpenCLIP's: its configuration, weights, a tokenizer if it is not CLIP's. Returns the model."""
    import torch
    from open_clip import create_model
    from safetensors.torch import save_file
    from transformers import T5Config

    from tests.models import hub_cache

    folder.mkdir(parents=True, exist_ok=True)
    if tokenizer:
        configuration["text_cfg"]["hf_tokenizer_name"] = "some/name"
        hub_cache.tokenizer(tokenizer).save_pretrained(folder)
        T5Config().save_pretrained(folder.parent / "any")
        (folder.parent / "any" / "config.json").rename(folder / "config.json")
    settings = {"model_cfg": configuration, "preprocess_cfg": preprocessing}
    (folder / "open_clip_config.json").write_text(json.dumps(settings))
    (folder / "README.md").write_text(CARD)
    torch.manual_seed(0)
    model = create_model(f"local-dir:{folder}", pretrained_text=False)
    state = {name: weight.clone().contiguous() for name, weight in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return model


def _saved(folder: Path, model: Any, processor: Any, **options: Any) -> tuple[Any, Any]:
    model.save_pretrained(folder, **options)
    processor.save_pretrained(folder)
    (folder / "README.md").write_text(CARD)
    return model, processor
