"""The architectures that the exporter is tried on: all of OpenCLIP's list, and families of transformers."""

from __future__ import annotations

import importlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import timm
import torch
import transformers

from encoder_service.export.dual_encoder import DualEncoder
from encoder_service.export.sources import from_transformers, load
from encoder_service.export.sources.bpe import bpe
from encoder_service.export.sources.tokenizer import of_transformers
from tests.models import hub_cache

# Layers of each tower that are kept where all would be too many.
FEW = 2
_LIBRARY: Any = transformers  # most of it has no types


@dataclass(frozen=True, slots=True)
class Made:
    """A model, the million weights that all its layers have, and "all" or how many layers each tower has."""

    encoder: DualEncoder
    millions: float
    layers: str


def names() -> dict[str, str]:
    """Every architecture, and its library."""
    return {**dict.fromkeys(FAMILIES, "transformers"), **dict.fromkeys(open_clip.list_models(), "OpenCLIP")}


def make(name: str, whole: float) -> Made:
    """With random weights; with FEW layers in each tower if it has more than `whole` million weights."""
    if name in FAMILIES:
        with torch.device("meta"):
            millions = _millions(model(FAMILIES[name]))
        layers = None if millions <= whole else FEW
        return Made(encoder(name, FAMILIES[name], layers), millions, str(layers or "all"))
    millions = _millions(
        open_clip.create_model(name, device="meta", pretrained_text=False, force_custom_text=True)
    )
    if millions <= whole:
        return Made(load.load_random(name, 0), millions, "all")
    return Made(_short(name), millions, str(FEW))


def _millions(model: torch.nn.Module) -> float:
    return round(sum(weight.numel() for weight in model.parameters()) / 1e6, 1)


def _short(name: str) -> DualEncoder:
    """The same with FEW layers in each tower, under the same name: in a process of its own."""
    configuration = open_clip.get_model_config(name)
    image, text = configuration["vision_cfg"], configuration["text_cfg"]
    if "timm_model_name" in image:
        image["timm_model_name"] = _short_timm(image["timm_model_name"])
    else:
        image["layers"] = [1] * 4 if isinstance(image["layers"], list) else FEW
    if "hf_model_name" in text:
        hub_cache.fill(Path(_hub()), FEW)
    else:
        text["layers"] = FEW
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{name}.json")
        path.write_text(json.dumps(configuration))
        open_clip.add_model_config(path)
        return load.load_random(name, 0)


def _hub() -> str:
    from huggingface_hub import constants

    return constants.HF_HUB_CACHE


def _short_timm(name: str) -> str:
    """Registers and names a variant of a timm model with fewer layers, where its kind can have fewer."""
    if name.startswith("convnext"):
        fewer: dict[str, Any] = {"depths": (1, 1, 2, 1)}
    elif name.startswith(("vit_", "eva")):
        fewer = {"depth": FEW}
    else:
        return name

    def short(pretrained: bool = False, **options: Any) -> Any:
        return timm.create_model(name, pretrained=False, **fewer, **options)

    short.__name__ = f"{name}_short"
    short.__module__ = __name__
    timm.models.register_model(short)
    return short.__name__


def _vit(width: int, layers: int, heads: int, size: int, patch: int, **more: Any) -> dict[str, Any]:
    return {**_layers(width, layers, heads, **more), "image_size": size, "patch_size": patch}


def _layers(width: int, layers: int, heads: int, **more: Any) -> dict[str, Any]:
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    return {"intermediate_size": 4 * width, **sizes, **more}


@dataclass(frozen=True, slots=True)
class Family:
    """A published model of transformers: its sizes, its class, the real classes of what stands before it."""

    kind: str
    image: dict[str, Any]
    text: dict[str, Any]
    tokenizer: str
    processor: str
    settings: dict[str, Any]
    more: dict[str, Any]


def _family(
    kind: str,
    image: dict[str, Any],
    text: dict[str, Any],
    tokenizer: str,
    processor: str = "CLIP",
    **more: Any,
) -> Family:
    size = image.get("image_size", 224)
    square = {"height": size, "width": size}
    crop = {"size": {"shortest_edge": size}, "crop_size": square}
    settings = more.pop("settings", crop if processor == "CLIP" else {"size": square})
    return Family(kind, image, text, tokenizer, processor, settings, more)


_ALIGN = {
    "size": {"height": 346, "width": 346},
    "crop_size": {"height": 289, "width": 289},
    "do_center_crop": True,
    "rescale_factor": 1 / 127.5,
    "rescale_offset": True,
    "do_normalize": False,
    "include_top": False,
    "resample": 2,
}

FAMILIES: dict[str, Family] = {
    "openai/clip-vit-base-patch32": _family(
        "CLIP", _vit(768, 12, 12, 224, 32), _layers(512, 12, 8), "clip", projection_dim=512
    ),
    "google/siglip-base-patch16-224": _family(
        "Siglip", _vit(768, 12, 12, 224, 16), _layers(768, 12, 12, vocab_size=32000), "t5", "Siglip"
    ),
    "google/siglip-so400m-patch14-384": _family(
        "Siglip",
        _vit(1152, 27, 16, 384, 14, intermediate_size=4304),
        _layers(1152, 27, 16, vocab_size=32000, intermediate_size=4304, projection_size=1152),
        "t5",
        "Siglip",
    ),
    "google/siglip2-base-patch16-256": _family(
        "Siglip", _vit(768, 12, 12, 256, 16), _layers(768, 12, 12, vocab_size=256000), "gemma", "Siglip"
    ),
    "facebook/metaclip-2-worldwide-huge-quickgelu": _family(
        "MetaClip2",
        _vit(1280, 32, 16, 224, 14, hidden_act="quick_gelu"),
        _layers(1024, 24, 16, vocab_size=901629, hidden_act="quick_gelu", eos_token_id=2),
        "xlm_roberta",
        projection_dim=1024,
    ),
    "OFA-Sys/chinese-clip-vit-base-patch16": _family(
        "ChineseCLIP",
        _vit(768, 12, 12, 224, 16),
        _layers(768, 12, 12, vocab_size=21128),
        "word_piece",
        "ChineseCLIP",
        settings={"size": {"height": 224, "width": 224}, "do_center_crop": False},
        projection_dim=512,
    ),
    "kakaobrain/align-base": _family(
        "Align", {}, _layers(768, 12, 12), "word_piece", "EfficientNet", settings=_ALIGN
    ),
    "BAAI/AltCLIP": _family(
        "AltCLIP",
        _vit(1024, 24, 16, 224, 14),
        _layers(1024, 24, 16, vocab_size=250002, project_dim=768),
        "xlm_roberta",
        projection_dim=768,
    ),
    "CIDAS/clipseg-rd64-refined": _family(
        "CLIPSeg", _vit(768, 12, 12, 224, 16), _layers(512, 12, 8), "clip", projection_dim=512
    ),
    "vision-text-dual-encoder (ViT-B/32, BERT)": _family(
        "VisionTextDualEncoder",
        _vit(768, 12, 12, 224, 32),
        _layers(768, 12, 12),
        "word_piece",
        projection_dim=512,
    ),
}


def model(family: Family, layers: int | None = None) -> Any:
    """The model with random weights, in float32 and eval mode."""
    image, text = dict(family.image), dict(family.text)
    if layers:
        image |= {"num_hidden_layers": layers}
        text |= {"num_hidden_layers": layers}
    if family.kind == "VisionTextDualEncoder":
        parts = {
            "vision_config": _LIBRARY.CLIPVisionConfig(**image).to_dict(),
            "text_config": _LIBRARY.BertConfig(**text).to_dict(),
        }
    else:
        parts = {"vision_config": image, "text_config": text}
    configuration = getattr(_LIBRARY, f"{family.kind}Config")(**parts, **family.more)
    return getattr(_LIBRARY, f"{family.kind}Model")(configuration).eval()


def encoder(name: str, family: Family, layers: int | None = None) -> DualEncoder:
    """The same with its image processor and a tokenizer of its class."""
    torch.manual_seed(0)
    made = model(family, layers)
    with tempfile.TemporaryDirectory() as folder:
        made.config.save_pretrained(folder)
        tokenizer(family).save_pretrained(folder)
        loaded = of_transformers(folder)
    return load.finished(
        from_transformers.wrap(
            made,
            processor(family),
            loaded,
            name=name,
            license="none (random weights)",
            configuration=json.loads(made.config.to_json_string()),
            pretrained=False,
        )
    )


def processor(family: Family) -> Any:
    """The image processor of its class."""
    name = {"CLIP": "clip", "Siglip": "siglip", "ChineseCLIP": "chinese_clip", "EfficientNet": "efficientnet"}
    module = importlib.import_module(
        f"transformers.models.{name[family.processor]}.image_processing_pil_{name[family.processor]}"
    )
    return getattr(module, f"{family.processor}ImageProcessorPil")(**family.settings)


def tokenizer(family: Family) -> Any:
    """A tokenizer of its class."""
    if family.tokenizer == "clip":
        parts = json.loads(bpe().to_str())["model"]
        pairs = [tuple(pair) for pair in parts["merges"]]
        return _LIBRARY.CLIPTokenizer(vocab=parts["vocab"], merges=pairs, model_max_length=77)
    return hub_cache.tokenizer(family.tokenizer)
