"""From what a person names to a dual encoder: a folder, a hub's id, OpenCLIP's NAME:PRETRAINED, or chance."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from encoder_service.export import ExportError
from encoder_service.export.dual_encoder import DualEncoder, checked
from encoder_service.export.sources import from_open_clip, from_transformers, hub, random_weights
from encoder_service.export.sources.hub import Checkpoint
from encoder_service.inputs.texts import TextTokenizer

HUB_PREFIX = "hf-hub:"

# Texts of one word, of some, and of more than any context: the layouts that are tried.
_TEXTS = ("a cat", "two children share an umbrella in the rain", "many words " * 300)

# Kept, because what a library declared goes with it.
_declared: list[Any] = []


def load(
    source: str, *, revision: str | None = None, dimension: int = 0, local_files_only: bool = False
) -> DualEncoder:
    """Loads a model with its weights.

    `source` is a folder or a Hugging Face id, in transformers' format or OpenCLIP's (`hf-hub:` insists on the
    latter), or OpenCLIP's NAME:PRETRAINED. `revision` is a branch, tag or commit of the hub; `dimension` the
    numbers of a vector to keep, 0 = all. `local_files_only` keeps to the folder or to the hub's cache. Raises
    ExportError.
    """
    import_torchvision()
    if Path(source).is_dir():
        _no(revision, source, "a folder")
        checkpoint = Checkpoint(Path(source), Path(source).resolve().name)
        loader = from_open_clip.load if _in_open_clip(checkpoint) else from_transformers.load
        encoder = loader(checkpoint)
    elif ":" in source and not source.startswith(HUB_PREFIX):
        _no(revision, source, "a name of OpenCLIP's list")
        if local_files_only:
            raise ExportError(f"{source} is downloaded by OpenCLIP")
        encoder = from_open_clip.load_named(*source.split(":", 1))
    else:
        encoder = _of_hub(source, revision, local_files_only)
    return finished(encoder, dimension)


def load_random(name: str, seed: int, *, dimension: int = 0) -> DualEncoder:
    """A known architecture with random weights. Raises ExportError."""
    import_torchvision()
    return finished(random_weights.random_encoder(name, seed), dimension)


def finished(encoder: DualEncoder, dimension: int = 0) -> DualEncoder:
    """The encoder with its dimension and the layout of its texts settled. Raises ExportError."""
    texts = TextTokenizer(encoder.tokenizer, encoder.text).encode(_TEXTS)
    return checked(replace(encoder, dimension=dimension), texts)


def _of_hub(source: str, revision: str | None, local_files_only: bool) -> DualEncoder:
    checkpoint = hub.description(source.removeprefix(HUB_PREFIX), revision, local_files_only)
    if source.startswith(HUB_PREFIX) and not checkpoint.open_clip:
        raise ExportError(f"{checkpoint.name} has no open_clip_config.json: name it without {HUB_PREFIX}")
    in_open_clip = source.startswith(HUB_PREFIX) or _in_open_clip(checkpoint)  # before gigabytes are fetched
    names = hub.OPEN_CLIP_WEIGHTS if in_open_clip else hub.TRANSFORMERS_WEIGHTS
    hub.weights(checkpoint, names, local_files_only)
    encoder = from_open_clip.load(checkpoint) if in_open_clip else from_transformers.load(checkpoint)
    # The prefix stays in the name, because another format's weights may lie beside.
    return replace(encoder, name=source, source=encoder.source.model_copy(update={"id": source}))


def _in_open_clip(checkpoint: Checkpoint) -> bool:
    """Whether OpenCLIP is to read it: it can, and transformers cannot. Raises ExportError if neither can."""
    if not checkpoint.transformers and not checkpoint.open_clip:
        raise ExportError(
            f"{checkpoint.name} has neither a config.json nor an open_clip_config.json: it is no model"
        )
    try:
        from_transformers.described(checkpoint)
    except ExportError:
        if checkpoint.open_clip:
            return True
        raise
    return False


def _no(revision: str | None, source: str, what: str) -> None:
    if revision is not None:
        raise ExportError(f"{source} is {what}, which has no revision {revision!r}: only ids of the hub have")


def import_torchvision() -> None:
    """Imports torchvision if it is installed.

    The package index has it for the CUDA build of torch only. Beside another its compiled part does not
    load, and it ends with an error about an operator that nobody here uses: declared, the rest of it works.
    """
    try:
        import torchvision
    except ImportError:
        return
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
        import torch

        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        libraries: Any = torch.library
        library = libraries.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _declared.append(library)
        import torchvision  # noqa: F401
