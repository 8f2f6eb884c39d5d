"""Sizes and tokenizers of known architectures, in transformers' form; nothing here needs torch.

A tokenizer is real: CLIP's vocabulary (MIT); architectures with fewer tokens take its first, most frequent
merges.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tokenizers import Tokenizer

from encoder_service.export.sources.bpe import bpe

CLIP_START, CLIP_END = "<|startoftext|>", "<|endoftext|>"
SIGLIP_PAD, SIGLIP_END = "<pad>", "</s>"


@dataclass(frozen=True, slots=True)
class Architecture:
    """Sizes of the two towers; `image` and `text` are the fields of transformers' configurations."""

    family: Literal["clip", "siglip"]
    image: Mapping[str, int]
    text: Mapping[str, int]

    def processor(self) -> Any:
        """The image processor that the published models of this family use."""
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
        from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

        size = self.image["image_size"]
        square = {"height": size, "width": size}
        if self.family == "siglip":
            return SiglipImageProcessorPil(size=square)
        return CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size=square)


# Width, layers and heads of a tower.
_Tower = tuple[int, int, int]


def _sizes(tower: _Tower, **more: int) -> dict[str, int]:
    width, layers, heads = tower
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    return {**sizes, "intermediate_size": 4 * width, **more}


def _clip(
    image: _Tower, size: int, patch: int, text: _Tower, dimension: int, vocabulary: int = 49408
) -> Architecture:
    tokens = {"vocab_size": vocabulary, "max_position_embeddings": 77}
    ends = {"bos_token_id": vocabulary - 2, "eos_token_id": vocabulary - 1, "pad_token_id": vocabulary - 1}
    return Architecture(
        "clip",
        _sizes(image, image_size=size, patch_size=patch, projection_dim=dimension),
        _sizes(text, **tokens, **ends, projection_dim=dimension),
    )


def _siglip(image: _Tower, size: int, patch: int, text: _Tower, vocabulary: int = 32000) -> Architecture:
    tokens = {"vocab_size": vocabulary, "max_position_embeddings": 64, "projection_size": image[0]}
    ends = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
    return Architecture(
        "siglip", _sizes(image, image_size=size, patch_size=patch), _sizes(text, **tokens, **ends)
    )


ARCHITECTURES: dict[str, Architecture] = {
    "clip-vit-base-patch32": _clip((768, 12, 12), 224, 32, (512, 12, 8), 512),
    "clip-vit-base-patch16": _clip((768, 12, 12), 224, 16, (512, 12, 8), 512),
    "clip-vit-large-patch14": _clip((1024, 24, 16), 224, 14, (768, 12, 12), 768),
    "siglip-base-patch16-224": _siglip((768, 12, 12), 224, 16, (768, 12, 12)),
    # For tests: every part of the real ones, a thousandth of the work.
    "clip-vit-tiny-test": _clip((64, 2, 4), 64, 16, (48, 2, 4), 32, vocabulary=2048),
    "siglip-tiny-test": _siglip((64, 2, 4), 64, 16, (64, 2, 4), vocabulary=2048),
}


def tokenizer(shape: Architecture) -> Tokenizer:
    """A byte-level BPE tokenizer with exactly as many tokens as the text tower has embeddings."""
    size = shape.text["vocab_size"]
    if shape.family == "siglip":
        return bpe(size, before=[SIGLIP_PAD, SIGLIP_END], after=[], template=f"$A {SIGLIP_END}")
    return bpe(size, after=[CLIP_START, CLIP_END], template=f"{CLIP_START} $A {CLIP_END}")
