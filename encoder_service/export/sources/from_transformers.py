"""Dual encoders in transformers' format: whatever has `get_image_features` and `get_text_features`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor, nn

from encoder_service.bundle import Source
from encoder_service.export import ExportError
from encoder_service.export.dual_encoder import DualEncoder, weights_sha256
from encoder_service.export.sources import preprocessing, tokenizer
from encoder_service.export.sources.hub import TRANSFORMERS_CONFIG, Checkpoint
from encoder_service.export.sources.tokenizer import LoadedTokenizer
from encoder_service.runtime.session import first_line

# Families whose positions begin after the padding token's.
_OFFSET_POSITIONS = ("roberta", "xlm-roberta", "altclip")


class Features(nn.Module):
    """A method that gives vectors, as a module: `get_text_features`, or OpenCLIP's `encode_text`."""

    def __init__(self, model: Any, method: str) -> None:
        super().__init__()
        self.model = model
        self.method = method

    def forward(self, *inputs: Tensor) -> Tensor:
        """float32 [batch, 3, size, size], or int64 [batch, sequence] and maybe a mask, to [batch, width]."""
        features = getattr(self.model, self.method)(*inputs)
        y: Tensor = features if isinstance(features, Tensor) else features.pooler_output
        return y


def load(checkpoint: Checkpoint) -> DualEncoder:
    """The model of a folder, its weights there. Raises ExportError."""
    from transformers import AutoImageProcessor

    raw, kind = described(checkpoint)
    model = _model(checkpoint, kind)
    processor = _from_pretrained(AutoImageProcessor, checkpoint, backend="pil")
    return wrap(
        model,
        processor,
        tokenizer.of_transformers(checkpoint.folder),
        name=checkpoint.name,
        revision=checkpoint.revision,
        license=licence(checkpoint),
        configuration=raw,
    )


def wrap(
    model: Any,
    processor: Any,
    loaded: LoadedTokenizer,
    *,
    name: str,
    revision: str = "",
    license: str,
    configuration: Mapping[str, Any],
    pretrained: bool = True,
) -> DualEncoder:
    """A model of transformers with its image processor and tokenizer."""
    text = model.config.text_config
    family = model.config.model_type
    # As it was trained: its processor leaves the case to the caller, and not every tokenizer of it knows that
    # padding is part of the text.
    siglip = family == "siglip"
    loaded = replace(loaded, masked=False) if siglip else loaded
    offset = text.pad_token_id + 1 if text.model_type.startswith(_OFFSET_POSITIONS) else 0
    rules = loaded.rules(text.max_position_embeddings - offset, lowercase=siglip)
    image, normalisation = preprocessing.of_transformers(processor.to_dict())
    bias = getattr(model, "logit_bias", None)

    def own_pixels(image: Image.Image) -> Tensor:
        return torch.as_tensor(np.asarray(processor(image)["pixel_values"][0]))

    def own_tokens(texts: Sequence[str]) -> NDArray[np.int64]:
        lowered = [text.lower() for text in texts] if siglip else list(texts)
        whole = {"truncation": True, "padding": "max_length", "max_length": rules.context_length}
        return np.asarray(loaded.reference(lowered, **whole)["input_ids"])

    return DualEncoder(
        name=name,
        source=Source(id=name, revision=revision, weights_sha256=weights_sha256(model.state_dict())),
        license=license,
        pretrained=pretrained,
        family=family,
        model=model,
        encode_image=Features(model, "get_image_features"),
        encode_text=Features(model, "get_text_features"),
        configuration=configuration,
        tokenizer=loaded.tokenizer,
        image=image,
        normalisation=normalisation,
        text=rules,
        dimension=0,
        # ALIGN divides by a temperature.
        logit_scale=math.exp(model.logit_scale.item())
        if hasattr(model, "logit_scale")
        else 1 / model.temperature.item(),
        logit_bias=None if bias is None else float(bias.item()),
        own_pixels=own_pixels,
        own_tokens=own_tokens if loaded.reference is not None else None,
    )


def described(checkpoint: Checkpoint) -> tuple[dict[str, Any], Any]:
    """`config.json` and the model's class, before any weights are fetched.

    Raises ExportError for what is no dual encoder, and for what would run code of its own.
    """
    from transformers import MODEL_MAPPING, AutoConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    try:
        raw = json.loads((checkpoint.folder / TRANSFORMERS_CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"{checkpoint.name}: its config.json cannot be read: {error}") from None
    name, kind = checkpoint.name, raw.get("model_type")
    if raw.get("auto_map") and kind not in CONFIG_MAPPING:
        raise ExportError(f"{name} brings code of its own to run, which the exporter never does")
    if kind not in CONFIG_MAPPING:
        raise ExportError(f"{name} is a model of the type {kind!r}, which transformers does not know")
    if kind == "siglip2":
        raise ExportError(
            f"{name} is a NaFlex model, whose images have no fixed size; export its sibling of fixed "
            "resolution, such as google/siglip2-base-patch16-256"
        )
    configuration = _from_pretrained(AutoConfig, checkpoint)
    model = MODEL_MAPPING.get(type(configuration), None)
    if not (hasattr(model, "get_image_features") and hasattr(model, "get_text_features")):
        raise ExportError(
            f"{name} is no dual encoder: a {kind} model gives no vectors of both images and texts"
        )
    return raw, model


def _model(checkpoint: Checkpoint, kind: Any) -> Any:
    model, report = _from_pretrained(kind, checkpoint, dtype=torch.float32, output_loading_info=True)
    # transformers fills what a file lacks with random numbers and only warns.
    missing = sorted([*report["missing_keys"], *report["mismatched_keys"]], key=str)
    if missing:
        raise ExportError(f"{checkpoint.name} lacks {len(missing)} weights of the model, first {missing[0]}")
    return model.eval()


def _from_pretrained(kind: Any, checkpoint: Checkpoint, **options: Any) -> Any:
    """transformers' loaders, their errors in one line."""
    try:
        return kind.from_pretrained(checkpoint.folder, trust_remote_code=False, **options)
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        raise ExportError(f"{checkpoint.name} cannot be loaded: {first_line(error)}") from None


def licence(checkpoint: Checkpoint) -> str:
    """The licence that the model card names."""
    from huggingface_hub import ModelCard

    try:
        named = ModelCard.load(checkpoint.folder / "README.md").data.license
    except (OSError, ValueError):
        named = None
    return str(named) if named else "not named in its model card"
