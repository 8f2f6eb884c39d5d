"""Known architectures with random weights: real configurations, the real cost, vectors that mean nothing.

For benchmarks and tests where no hub can be reached. Besides those of `architectures`, in transformers' form,
there are those of OpenCLIP's list.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import torch

from encoder_service.bundle import Source
from encoder_service.export import ExportError
from encoder_service.export.dual_encoder import DualEncoder
from encoder_service.export.sources import from_open_clip, from_transformers
from encoder_service.export.sources.architectures import ARCHITECTURES, Architecture, tokenizer
from encoder_service.export.sources.tokenizer import LoadedTokenizer, of_open_clip

RANDOM = "random/"
_SEED = "seed "
_LICENSE = "none (random weights)"
_NOTES = (
    "Random weights, for benchmarks and tests: the vectors mean nothing. The tokenizer is CLIP's vocabulary "
    "(MIT), or its most frequent part."
)


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
    model = random_model(shape, seed)
    return from_transformers.wrap(
        model,
        shape.processor(),
        LoadedTokenizer(tokenizer(shape), pad_id=shape.text["pad_token_id"]),
        name=name,
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

    sizes: dict[str, Any] = {"vision_config": dict(shape.image), "text_config": dict(shape.text)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if shape.family == "siglip":
            model: Any = SiglipModel(SiglipConfig(**sizes))
        else:
            model = CLIPModel(CLIPConfig(**sizes, projection_dim=shape.image["projection_dim"]))
    return model.eval()
