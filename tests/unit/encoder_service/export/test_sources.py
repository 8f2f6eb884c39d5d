"""Export from checkpoint folders as people have them: weights, processor, tokenizer, model card."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from encoder_service.bundle import open_bundle, write_manifest
from encoder_service.export import ExportError
from encoder_service.export.parity import cosines
from encoder_service.export.verify import verify_bundle
from encoder_service.inputs.pixels import fit
from encoder_service.inputs.texts import TextTokenizer, pad
from tests import checkpoints
from tests.unit.encoder_service.export.graphs import run

TEXTS = ["a cat", "A Dog on a RED sofa!", "two  pears, 3 plums", "naïve 猫 🐱", "many words " * 60]


@dataclass(frozen=True)
class Local:
    """A checkpoint folder, what transformers would load from it, and its bundle."""

    folder: Path
    model: Any
    processor: Any
    bundle: Path


@pytest.fixture(scope="module")
def clip_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Local:
    return exported(tmp_path_factory.mktemp("checkpoints") / "my-clip", checkpoints.clip)


@pytest.fixture(scope="module")
def siglip_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Local:
    return exported(tmp_path_factory.mktemp("checkpoints") / "my-siglip", checkpoints.siglip)


def exported(folder: Path, lay_out: Callable[[Path], tuple[Any, Any]]) -> Local:
    from encoder_service.export.build import export_bundle

    model, processor = lay_out(folder)
    bundle = folder.parent / "bundle"
    export_bundle(str(folder), bundle)
    return Local(folder, model, processor, bundle)


@pytest.fixture(params=["clip", "siglip"])
def local(request: pytest.FixtureRequest) -> Local:
    found: Local = request.getfixturevalue(f"{request.param}_checkpoint")
    return found


def photograph() -> Image.Image:
    """Not square, with detail at every scale."""
    y, x = np.mgrid[0:150, 0:230]
    waves = [127 + 120 * np.sin(x * y / period) for period in (900, 350, 120)]
    return Image.fromarray(np.stack(waves, axis=-1).astype(np.uint8))


def test_a_folder_becomes_a_bundle_that_answers_like_its_processor_and_model(local: Local) -> None:
    import torch

    manifest = open_bundle(local.bundle)

    assert manifest.name == local.folder.name == manifest.source.id
    assert (manifest.pretrained, manifest.license) == (True, "mit")
    assert str(local.folder.parent) not in (local.bundle / "manifest.json").read_text()

    texts = [text.lower() for text in TEXTS]  # SigLIP's rule; CLIP's tokenizer does it itself
    inputs = local.processor(
        images=photograph(), text=texts, padding="max_length", truncation=True, return_tensors="pt"
    )
    with torch.no_grad():
        expected_image = local.model.get_image_features(
            pixel_values=inputs["pixel_values"]
        ).pooler_output.numpy()
        expected = local.model.get_text_features(input_ids=inputs["input_ids"]).pooler_output.numpy()

    pixels = np.asarray(fit(photograph(), manifest.image))[np.newaxis]
    assert cosines(run(local.bundle / "image.fp32.onnx", pixels=pixels), expected_image)[0] > 0.999
    tokens = TextTokenizer(local.bundle, manifest.text).encode(TEXTS)
    ids = pad(tokens, manifest.text)
    assert cosines(run(local.bundle / "text.fp32.onnx", **ids), expected).min() > 0.99999


def test_verify_compares_with_the_folder_it_is_given(clip_checkpoint: Local, tmp_path: Path) -> None:
    bundle = copied(clip_checkpoint.bundle, tmp_path)
    plain = open_bundle(bundle).model_copy(update={"parity": []})
    write_manifest(bundle, plain)
    names = {check.name for check in verify_bundle(bundle, source=str(clip_checkpoint.folder))}
    assert {
        "fp32 against torch",
        "pixels against the library's own",
        "tokens against the library's own",
    } <= names
    assert all(
        check.passed
        for check in open_bundle(bundle).parity
        if check.name.startswith(("fp32", "pixels", "tokens"))
    )


def test_verify_refuses_a_source_with_other_weights(clip_checkpoint: Local, clip_bundle: Path) -> None:
    with pytest.raises(ExportError, match="other weights"):
        verify_bundle(clip_bundle, source=str(clip_checkpoint.folder))


def load(folder: Path, **options: Any) -> Any:
    from encoder_service.export.sources.load import load as load_source

    return load_source(str(folder), **options)


def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / folder.name))


def test_a_checkpoint_that_lacks_a_weight_is_refused(clip_checkpoint: Local, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = copied(clip_checkpoint.folder, tmp_path)
    weights = load_file(folder / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ExportError, match=r"lacks 1 weights of the model, first visual_projection\.weight"):
        load(folder)


def test_a_model_card_without_a_licence_is_said_so(clip_checkpoint: Local, tmp_path: Path) -> None:
    folder = copied(clip_checkpoint.folder, tmp_path)
    (folder / "README.md").unlink()
    assert load(folder).license == "not named in its model card"


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ("BertConfig", "is no dual encoder: a bert model gives no vectors of both"),
        ("Siglip2Config", "NaFlex.*siglip2-base-patch16-256"),
        ("", "has neither a config.json nor an open_clip_config.json"),
    ],
)
def test_other_families_and_folders_are_refused(tmp_path: Path, configuration: str, message: str) -> None:
    import transformers

    if configuration:
        getattr(transformers, configuration)().save_pretrained(tmp_path)
    with pytest.raises(ExportError, match=message):
        load(tmp_path)
