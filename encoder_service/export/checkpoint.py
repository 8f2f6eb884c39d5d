"""A dual encoder in torch with all that its manifest says about it, and what transformers itself answers."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from tokenizers import Tokenizer

from encoder_service.bundle import ImageRules, Source, TextRules
from encoder_service.export import ExportError, architectures
from encoder_service.export.preprocessing import Family, Normalisation, image_rules, text_rules
from encoder_service.export.tokenizer import LoadedTokenizer, load_tokenizer
from encoder_service.inputs.texts import Tokens

RANDOM = "random/"
# Items that the reference computes together.
_AT_ONCE = 8
_SEED = "seed "

_FAMILIES: dict[str, Family] = {"clip": "clip", "siglip": "siglip"}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`model` is a transformers CLIPModel or SiglipModel in float32 and eval mode."""

    name: str
    source: Source
    license: str
    pretrained: bool
    family: Family
    model: Any
    tokenizer: Tokenizer
    image: ImageRules
    normalisation: Normalisation
    text: TextRules
    dimension: int
    logit_scale: float
    logit_bias: float
    # transformers' own tokenizer; None for random weights, and where it needs what is not installed.
    reference_tokenizer: Any = None


def random_checkpoint(name: str, seed: int, progress: Callable[[str], None] | None = None) -> Checkpoint:
    """A known architecture with random weights. Raises ExportError, WheelError."""
    shape = architectures.architecture(name)
    tokenizer = architectures.tokenizer(shape, progress=progress)
    model = architectures.random_model(shape, seed)
    made = LoadedTokenizer(tokenizer, pad_id=0, end_id=model.config.text_config.eos_token_id)
    rules, normalisation = image_rules(shape.processor(), shape.image["image_size"])
    return Checkpoint(
        name=RANDOM + name,
        source=Source(
            id=RANDOM + name,
            revision=f"{_SEED}{seed}",
            weights_sha256=weights_sha256(model.state_dict()),
            notes="Random weights, for benchmarks and tests: the vectors mean nothing. The tokenizer is "
            "CLIP's vocabulary (MIT), or its most frequent part.",
        ),
        license="none (random weights)",
        pretrained=False,
        family=shape.family,
        model=model,
        tokenizer=tokenizer,
        image=rules,
        normalisation=normalisation,
        text=_text_rules(shape.family, model.config, made),
        dimension=shape.dimension,
        logit_scale=math.exp(model.logit_scale.item()),
        logit_bias=_logit_bias(model),
    )


def load_checkpoint(source: str, local_files_only: bool = False) -> Checkpoint:
    """Loads a Hugging Face id or a folder of the CLIP or SigLIP family.

    `local_files_only` keeps to what lies in the folder or in the hub's cache. Raises ExportError.
    """
    from transformers import AutoConfig, AutoImageProcessor

    offline = {"local_files_only": local_files_only}
    configuration = _from_pretrained(AutoConfig, source, **offline)
    family = _family(source, configuration)
    model = _model(source, family, offline)
    loaded = load_tokenizer(source, **offline)
    processor = _from_pretrained(AutoImageProcessor, source, **offline).to_dict()
    rules, normalisation = image_rules(processor, configuration.vision_config.image_size)
    name = Path(source).resolve().name if Path(source).is_dir() else source
    return Checkpoint(
        name=name,
        source=Source(
            id=name,
            revision=getattr(configuration, "_commit_hash", None) or "",
            weights_sha256=weights_sha256(model.state_dict()),
        ),
        license=_license(source, offline),
        pretrained=True,
        family=family,
        model=model,
        tokenizer=loaded.tokenizer,
        image=rules,
        normalisation=normalisation,
        text=_text_rules(family, configuration, loaded),
        dimension=_dimension(family, configuration),
        logit_scale=math.exp(model.logit_scale.item()),
        logit_bias=_logit_bias(model),
        reference_tokenizer=loaded.reference,
    )


def seed_of(source: Source) -> tuple[str, int] | None:
    """Architecture and seed of a bundle with random weights, None for any other."""
    if not source.id.startswith(RANDOM) or not source.revision.startswith(_SEED):
        return None
    return source.id.removeprefix(RANDOM), int(source.revision.removeprefix(_SEED))


def weights_sha256(state: dict[str, torch.Tensor]) -> str:
    """A hash over names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _from_pretrained(kind: Any, source: str, **options: Any) -> Any:
    """transformers' loaders, their errors in one line."""
    try:
        return kind.from_pretrained(source, **options)
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ExportError(f"{source} cannot be loaded: {reason}") from None


def _family(source: str, configuration: Any) -> Family:
    kind = configuration.model_type
    if kind == "siglip2":
        raise ExportError(
            f"{source} is a NaFlex model, whose images have no fixed size; export its sibling of fixed "
            "resolution, such as google/siglip2-base-patch16-256"
        )
    if kind not in _FAMILIES:
        raise ExportError(f"{source} is a {kind} model; the exporter knows {', '.join(_FAMILIES)}")
    if kind == "siglip" and not configuration.vision_config.vision_use_head:
        raise ExportError(f"{source} has no pooling head: it gives no single vector for an image")
    return _FAMILIES[kind]


def _model(source: str, family: Family, offline: dict[str, Any]) -> Any:
    from transformers import CLIPModel, SiglipModel

    kind = SiglipModel if family == "siglip" else CLIPModel
    model, report = _from_pretrained(kind, source, dtype=torch.float32, output_loading_info=True, **offline)
    # transformers fills what a file lacks with random numbers and only warns.
    missing = sorted([*report["missing_keys"], *report["mismatched_keys"]], key=str)
    if missing:
        raise ExportError(f"{source} lacks {len(missing)} weights of the model, first {missing[0]}")
    return model.eval()


def _text_rules(family: Family, configuration: Any, loaded: LoadedTokenizer) -> TextRules:
    text = configuration.text_config
    # SigLIP's configurations carry CLIP's end token by mistake; its tokenizer knows better.
    end_id = text.eos_token_id if family == "clip" else loaded.end_id
    return text_rules(family, loaded.tokenizer, text.max_position_embeddings, loaded.pad_id, end_id)


def _dimension(family: Family, configuration: Any) -> int:
    if family == "clip":
        return int(configuration.projection_dim)
    return int(configuration.vision_config.hidden_size)


def _logit_bias(model: Any) -> float:
    bias = getattr(model, "logit_bias", None)
    return 0.0 if bias is None else float(bias.item())


def _license(source: str, offline: dict[str, Any]) -> str:
    """The licence that the model card names."""
    from huggingface_hub import ModelCard
    from transformers.utils.hub import cached_file

    try:
        path = cached_file(source, "README.md", **offline)
        named = ModelCard.load(path).data.license if path else None
    except (OSError, ValueError):
        named = None
    return str(named) if named else "not named in its model card"


@torch.inference_mode()
def reference_images(checkpoint: Checkpoint, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 [n, size, size, 3] through the model's own forward pass, unit vectors [n, dimension]."""
    rules = checkpoint.normalisation
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (rules.mean, rules.std))

    def encode(batch: torch.Tensor) -> torch.Tensor:
        values = (batch.permute(0, 3, 1, 2).float() * rules.rescale - mean) / std
        vectors: torch.Tensor = checkpoint.model.get_image_features(pixel_values=values).pooler_output
        return vectors

    return _units([encode(batch) for batch in torch.split(torch.from_numpy(pixels), _AT_ONCE)])


@torch.inference_mode()
def reference_texts(checkpoint: Checkpoint, tokens: Sequence[Tokens]) -> NDArray[np.float32]:
    """Texts padded to the whole context, as the models' own examples do, unit vectors [n, dimension]."""
    ids = np.full((len(tokens), checkpoint.text.context_length), checkpoint.text.pad_id, np.int64)
    for row, text in zip(ids, tokens, strict=True):
        row[: len(text.ids)] = text.ids

    def encode(batch: torch.Tensor) -> torch.Tensor:
        vectors: torch.Tensor = checkpoint.model.get_text_features(input_ids=batch).pooler_output
        return vectors

    return _units([encode(batch) for batch in torch.split(torch.from_numpy(ids), _AT_ONCE)])


def reference_token_ids(checkpoint: Checkpoint, texts: Sequence[str]) -> list[tuple[int, ...]] | None:
    """The ids that transformers' tokenizer gives, cut to the context; None if there is no such tokenizer."""
    tokenizer = checkpoint.reference_tokenizer
    if tokenizer is None:
        return None
    rules = checkpoint.text
    lowered = [text.lower() for text in texts] if rules.lowercase else list(texts)
    ids = tokenizer(lowered, truncation=True, max_length=rules.context_length)["input_ids"]
    return [tuple(row) for row in ids]


def _units(batches: list[torch.Tensor]) -> NDArray[np.float32]:
    vectors: NDArray[np.float32] = torch.nn.functional.normalize(torch.cat(batches), dim=-1).numpy()
    return vectors
