"""Known architectures with random weights: real configurations, the real cost, vectors that mean nothing.

For benchmarks and tests where no hub can be reached. Some stand here, in transformers' form; the others are
those of OpenCLIP's list. The tokenizer is real: CLIP's vocabulary (MIT); architectures with fewer tokens take
its first, most frequent merges.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from tokenizers import Tokenizer

from encoder_service.bundle import Source
from encoder_service.export import ExportError
from encoder_service.export.dual_encoder import DualEncoder, weights_sha256
from encoder_service.export.sources import from_open_clip, from_transformers
from encoder_service.export.sources.bpe import bpe
from encoder_service.export.sources.tokenizer import LoadedTokenizer, of_open_clip

RANDOM = "random/"
_SEED = "seed "
_LICENSE = "none (random weights)"
_NOTES = (
    "Random weights, for benchmarks and tests: the vectors mean nothing. The tokenizer is CLIP's vocabulary "
    "(MIT), or its most frequent part."
)

CLIP_START, CLIP_END = "<|startoftext|>", "<|endoftext|>"
SIGLIP_PAD, SIGLIP_END = "<pad>", "</s>"


@dataclass(frozen=True, slots=True)
class Architecture:
    """Sizes of the two towers; `image` and `text` are the fields of transformers' configurations."""

    family: Literal["clip", "siglip"]
    image: Mapping[str, int]
    text: Mapping[str, int]
    dimension: int

    def processor(self) -> Any:
        """The image processor that the published models of this family use."""
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
        from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

        size = self.image["image_size"]
        square = {"height": size, "width": size}
        if self.family == "siglip":
            return SiglipImageProcessorPil(size=square)
        return CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size=square)


def _tower(width: int, layers: int, heads: int, **more: int) -> dict[str, int]:
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    return {**sizes, "intermediate_size": 4 * width, **more}


def _clip(
    image: dict[str, int], text: dict[str, int], dimension: int, vocabulary: int = 49408
) -> Architecture:
    tokens = {"vocab_size": vocabulary, "max_position_embeddings": 77}
    return Architecture("clip", image, {**text, **tokens}, dimension)


def _siglip(image: dict[str, int], text: dict[str, int], vocabulary: int = 32000) -> Architecture:
    tokens = {"vocab_size": vocabulary, "max_position_embeddings": 64}
    return Architecture("siglip", image, {**text, **tokens}, image["hidden_size"])


ARCHITECTURES: dict[str, Architecture] = {
    "clip-vit-base-patch32": _clip(
        _tower(768, 12, 12, image_size=224, patch_size=32), _tower(512, 12, 8), 512
    ),
    "clip-vit-base-patch16": _clip(
        _tower(768, 12, 12, image_size=224, patch_size=16), _tower(512, 12, 8), 512
    ),
    "clip-vit-large-patch14": _clip(
        _tower(1024, 24, 16, image_size=224, patch_size=14), _tower(768, 12, 12), 768
    ),
    "siglip-base-patch16-224": _siglip(
        _tower(768, 12, 12, image_size=224, patch_size=16), _tower(768, 12, 12)
    ),
    # For tests: every part of the real ones, a thousandth of the work.
    "clip-vit-tiny-test": _clip(
        _tower(64, 2, 4, image_size=64, patch_size=16), _tower(48, 2, 4), 32, vocabulary=2048
    ),
    "siglip-tiny-test": _siglip(
        _tower(64, 2, 4, image_size=64, patch_size=16), _tower(64, 2, 4), vocabulary=2048
    ),
}


def random_encoder(name: str, seed: int) -> DualEncoder:
    """An architecture of those here or of OpenCLIP's list, with random weights.

    The same seed and libraries give the same weights. Raises ExportError, naming those there are, for an
    unknown name.
    """
    made = _of_transformers(name, seed) if name in ARCHITECTURES else _of_open_clip(name, seed)
    told = {"id": RANDOM + name, "revision": f"{_SEED}{seed}", "notes": _NOTES}
    return replace(made, name=RANDOM + name, source=made.source.model_copy(update=told))


def seed_of(source: Source) -> tuple[str, int] | None:
    """Architecture and seed of a bundle with random weights, None for any other."""
    if not source.id.startswith(RANDOM) or not source.revision.startswith(_SEED):
        return None
    return source.id.removeprefix(RANDOM), int(source.revision.removeprefix(_SEED))


def _of_transformers(name: str, seed: int) -> DualEncoder:
    shape = ARCHITECTURES[name]
    made = tokenizer(shape)
    model = random_model(shape, seed)
    ends = model.config.text_config.eos_token_id
    return from_transformers.wrap(
        model,
        shape.processor(),
        LoadedTokenizer(made, pad_id=0 if shape.family == "siglip" else ends),
        name=name,
        source=Source(id=name, weights_sha256=weights_sha256(model.state_dict())),
        license=_LICENSE,
        configuration=json.loads(model.config.to_json_string()),
        pretrained=False,
    )


def _of_open_clip(name: str, seed: int) -> DualEncoder:
    try:
        configuration = from_open_clip.configured(name)
    except ExportError as error:
        raise ExportError(
            f"no known architecture {name!r}; there are {', '.join(ARCHITECTURES)}; {error}"
        ) from None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = from_open_clip.create(name, pretrained_text=False)
    loaded = of_open_clip(configuration["text_cfg"], None)
    return from_open_clip.wrap(model, loaded, configuration, name=name, license=_LICENSE, pretrained=False)


def random_model(shape: Architecture, seed: int) -> Any:
    """A transformers model with random weights; the same seed and torch give the same weights."""
    from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

    vocabulary = shape.text["vocab_size"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if shape.family == "siglip":
            text = {
                **shape.text,
                "projection_size": shape.dimension,
                "pad_token_id": 0,
                "bos_token_id": 0,
                "eos_token_id": 1,
            }
            model: Any = SiglipModel(SiglipConfig(text_config=text, vision_config=dict(shape.image)))
            return model.eval()
        ends = {"bos_token_id": vocabulary - 2, "eos_token_id": vocabulary - 1}
        text = {**shape.text, **ends, "pad_token_id": vocabulary - 1}
        configuration = CLIPConfig(
            text_config={**text, "projection_dim": shape.dimension},
            vision_config={**shape.image, "projection_dim": shape.dimension},
            projection_dim=shape.dimension,
        )
        model = CLIPModel(configuration)
        return model.eval()


def tokenizer(shape: Architecture) -> Tokenizer:
    """A byte-level BPE tokenizer with exactly as many tokens as the text tower has embeddings."""
    size = shape.text["vocab_size"]
    if shape.family == "siglip":
        return bpe(size, before=[SIGLIP_PAD, SIGLIP_END], after=[], template=f"$A {SIGLIP_END}")
    return bpe(size, after=[CLIP_START, CLIP_END], template=f"{CLIP_START} $A {CLIP_END}")
