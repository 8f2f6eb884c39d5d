"""Dual encoders in OpenCLIP's format, and those of its own list of names."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from encoder_service.bundle import Source
from encoder_service.export import ExportError
from encoder_service.export.dual_encoder import DualEncoder, weights_sha256
from encoder_service.export.sources import preprocessing, tokenizer
from encoder_service.export.sources.from_transformers import Features, licence
from encoder_service.export.sources.hub import OPEN_CLIP_CONFIG, Checkpoint
from encoder_service.export.sources.tokenizer import LoadedTokenizer
from encoder_service.runtime.session import first_line


def load(checkpoint: Checkpoint) -> DualEncoder:
    """The model of a folder with `open_clip_config.json` and weights. Raises ExportError."""
    raw = json.loads((checkpoint.folder / OPEN_CLIP_CONFIG).read_text(encoding="utf-8"))
    if "model_cfg" not in raw:
        raise ExportError(f"{checkpoint.name}: its {OPEN_CLIP_CONFIG} has no model_cfg")
    model = create(f"local-dir:{checkpoint.folder}", require_pretrained=True)
    loaded = tokenizer.of_open_clip(raw["model_cfg"]["text_cfg"], checkpoint.folder)
    return wrap(
        model,
        loaded,
        raw["model_cfg"],
        name=checkpoint.name,
        revision=checkpoint.revision,
        license=licence(checkpoint),
    )


def load_named(name: str, tag: str) -> DualEncoder:
    """A model of OpenCLIP's list with weights of its list, which OpenCLIP downloads. Raises ExportError."""
    import open_clip

    configuration = configured(name)
    tags = open_clip.list_pretrained_tags_by_model(name)
    if tag not in tags:
        raise ExportError(f"OpenCLIP has no weights {tag!r} of {name}; there are {', '.join(tags) or 'none'}")
    # One name stands for models with and without quick-GELU; the weights know how they were trained.
    configuration["quick_gelu"] = bool(open_clip.get_pretrained_cfg(name, tag).get("quick_gelu"))
    model = create(name, pretrained=tag, force_quick_gelu=configuration["quick_gelu"])
    loaded = tokenizer.of_open_clip(configuration["text_cfg"], None)
    told = "not told by OpenCLIP's list: see the weights' own page"
    return wrap(model, loaded, configuration, name=f"{name}:{tag}", license=told)


def configured(name: str) -> dict[str, Any]:
    """The configuration of a name of OpenCLIP's list. Raises ExportError."""
    import open_clip

    if name not in open_clip.list_models():
        raise ExportError(f"OpenCLIP has no model {name!r}; `open_clip.list_models()` names those it has")
    found: dict[str, Any] = open_clip.get_model_config(name)
    return found


def create(name: str, **options: Any) -> Any:
    """OpenCLIP's `create_model` in float32 and eval mode, its errors in one line."""
    import open_clip
    from open_clip.transformer import TextTransformer

    try:
        model = open_clip.create_model(name, force_custom_text=True, **options).eval()
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ExportError(f"{name} cannot be loaded: {first_line(error)}") from None
    if isinstance(model.text, TextTransformer):
        _take_any_length(model.text)
    return model


def _take_any_length(tower: Any) -> None:
    """Texts shorter than the context: its mask is of the whole context and not cut, unlike its positions."""
    embed = tower._embeds

    def embed_and_cut(text: Tensor) -> tuple[Tensor, Tensor | None]:
        x, mask = embed(text)
        return x, None if mask is None else mask[..., : x.shape[1], : x.shape[1]]

    tower._embeds = embed_and_cut


def wrap(
    model: Any,
    loaded: LoadedTokenizer,
    configuration: Mapping[str, Any],
    *,
    name: str,
    revision: str = "",
    license: str,
    pretrained: bool = True,
) -> DualEncoder:
    """A model of OpenCLIP with its tokenizer and its `model_cfg`."""
    from open_clip.transform import PreprocessCfg, image_transform_v2

    text = configuration["text_cfg"]
    rules = loaded.rules(text.get("context_length") or 77)  # OpenCLIP's, where it is not said
    settings = model.visual.preprocess_cfg
    image, normalisation = preprocessing.of_open_clip(settings)
    own_transform = image_transform_v2(PreprocessCfg(**settings), is_train=False)
    own_tokenizer = loaded.reference
    bias = model.logit_bias

    def own_tokens(texts: Sequence[str]) -> NDArray[np.int64]:
        return np.asarray(own_tokenizer(list(texts), context_length=rules.context_length))

    return DualEncoder(
        name=name,
        source=Source(id=name, revision=revision, weights_sha256=weights_sha256(model.state_dict())),
        license=license,
        pretrained=pretrained,
        family="open_clip",
        model=model,
        encode_image=Features(model, "encode_image"),
        encode_text=Features(model, "encode_text"),
        configuration=configuration,
        tokenizer=loaded.tokenizer,
        image=image,
        normalisation=normalisation,
        text=rules,
        dimension=0,
        logit_scale=math.exp(model.logit_scale.item()),
        logit_bias=None if bias is None else float(bias.item()),
        own_pixels=own_transform,
        own_tokens=own_tokens if own_tokenizer is not None else None,
    )
