from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from encoder_service.bundle import (
    BundleError,
    Manifest,
    check_files,
    open_bundle,
    read_manifest,
    space_fingerprint,
)
from encoder_service.export import ExportError
from encoder_service.export.graphs import edit


def export(folder: Path, **options: Any) -> Manifest:
    from encoder_service.export.build import export_bundle

    return export_bundle("clip-vit-tiny-test", folder, random_init=True, **options)


def test_the_manifest_says_that_the_weights_are_random(bundle: Path) -> None:
    manifest = open_bundle(bundle)
    assert manifest.pretrained is False
    assert manifest.name.startswith("random/")
    assert manifest.license == "none (random weights)"
    assert manifest.source.revision == "seed 0"


def test_the_manifest_says_how_clip_and_siglip_score(clip_bundle: Path, siglip_bundle: Path) -> None:
    assert (open_bundle(clip_bundle).scoring, open_bundle(siglip_bundle).scoring) == ("softmax", "sigmoid")
    # What CLIP starts its training with: exp(2.6592).
    assert open_bundle(clip_bundle).logit_scale == pytest.approx(math.exp(2.6592))


@pytest.fixture(scope="module")
def encoder() -> Any:
    from encoder_service.export.sources.load import load_random

    return load_random("clip-vit-tiny-test", 0)


def of(encoder: Any, tokenizer: str = "0" * 64) -> str:
    return space_fingerprint(
        encoder.source.weights_sha256, tokenizer, encoder.image, encoder.text, encoder.computation()
    )


def test_the_manifest_has_the_fingerprint_of_what_it_was_made_from(clip_bundle: Path, encoder: Any) -> None:
    manifest = open_bundle(clip_bundle)
    assert manifest.fingerprint == of(encoder, manifest.files["tokenizer.json"].sha256)


MOVES: dict[str, Callable[[Any], Any]] = {
    "weights": lambda e: replace(e, source=e.source.model_copy(update={"weights_sha256": "1" * 64})),
    "mean": lambda e: replace(e, normalisation=replace(e.normalisation, mean=(0.5, 0.5, 0.5))),
    "std": lambda e: replace(e, normalisation=replace(e.normalisation, std=(0.5, 0.5, 0.5))),
    "rescale": lambda e: replace(e, normalisation=replace(e.normalisation, rescale=1.0)),
    "activation": lambda e: replace(
        e,
        configuration={
            **e.configuration,
            "vision_config": {**e.configuration["vision_config"], "hidden_act": "quick_gelu_not"},
        },
    ),
    "dimension": lambda e: replace(e, dimension=16),
    **{
        f"image {name}": lambda e, name=name, value=value: replace(
            e, image=e.image.model_copy(update={name: value})
        )
        for name, value in {
            "resize": "squash",
            "resized": 72,
            "half_pixel": "even",
            "interpolation": "bilinear",
        }.items()
    },
    **{
        f"text {name}": lambda e, name=name, value=value: replace(
            e, text=e.text.model_copy(update={name: value})
        )
        for name, value in {
            "pad_id": 0,
            "padding": "max_length",
            "padding_side": "left",
            "truncation_side": "left",
            "lowercase": True,
            "context_length": 5,
        }.items()
    },
}


@pytest.mark.parametrize("what", MOVES)
def test_all_that_moves_a_vector_is_in_the_fingerprint(encoder: Any, what: str) -> None:
    assert of(MOVES[what](encoder)) != of(encoder)


def test_what_only_says_how_a_checkpoint_was_saved_is_not(encoder: Any) -> None:
    vision = {**encoder.configuration["vision_config"], "torch_dtype": "float16"}
    saved_again = {**encoder.configuration, "transformers_version": "6.0", "vision_config": vision}
    assert of(replace(encoder, configuration=saved_again)) == of(encoder)


@pytest.fixture
def by_copies(clip_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch would export again, in seconds, is written again from the shared bundle."""
    from encoder_service.export import write_graphs

    def export_again(tower: object, size: object, path: Path) -> None:
        edit.save_graph(ir.load(clip_bundle / path.name), path)

    monkeypatch.setattr(write_graphs, "export_image", export_again)
    monkeypatch.setattr(write_graphs, "export_text", export_again)


@pytest.mark.usefixtures("by_copies")
def test_an_older_bundle_is_replaced_and_precision_stays_out_of_the_fingerprint(own_bundle: Path) -> None:
    before = open_bundle(own_bundle)
    (own_bundle / "left over").write_text("from another time")
    made = export(own_bundle, precisions=["fp32"])
    assert open_bundle(own_bundle) == made
    assert made.fingerprint == before.fingerprint
    assert made.preferred_cpu == {"image": "fp32", "text": "fp32"}
    assert sorted(made.files) == ["image.fp32.onnx", "text.fp32.onnx", "tokenizer.json"]
    assert sorted(path.name for path in own_bundle.iterdir()) == sorted([*made.files, "manifest.json"])
    assert [path.name for path in own_bundle.parent.iterdir()] == [own_bundle.name]


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ExportError, match="is no model bundle"):
        export(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_failed_export_leaves_nothing_of_itself_and_the_old_bundle(
    own_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from encoder_service.export import write_graphs

    before = open_bundle(own_bundle)

    def fail(_: object, __: object, graph: Path) -> None:
        graph.write_bytes(b"half of a graph")
        raise ExportError("out of ideas")

    monkeypatch.setattr(write_graphs, "export_image", fail)
    with pytest.raises(ExportError, match="out of ideas"):
        export(own_bundle)
    assert open_bundle(own_bundle) == before
    assert [path.name for path in own_bundle.parent.iterdir()] == [own_bundle.name]


@pytest.mark.usefixtures("by_copies")
def test_weights_too_large_for_one_file_lie_beside_the_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edit, "MAX_INLINE_BYTES", 300_000)
    manifest = export(tmp_path / "bundle")
    assert "image.fp32.onnx.data" in manifest.files
    assert "image.int8.onnx.data" not in manifest.files  # a quarter of the size
    int8 = ir.load(tmp_path / "bundle" / "image.int8.onnx").graph.initializers.values()
    assert not any(isinstance(one.const_value, ir.ExternalTensor) for one in int8), "read from fp32's weights"
    assert manifest.files["image.fp32.onnx"].bytes < manifest.files["image.fp32.onnx.data"].bytes / 2
    assert all(check.passed for check in manifest.parity)
    (tmp_path / "bundle" / "image.fp32.onnx.data").unlink()
    with pytest.raises(BundleError, match=r"image\.fp32\.onnx\.data is missing"):
        check_files(tmp_path / "bundle", manifest)


@pytest.mark.parametrize("precisions", [["int8"], ["fp16"], ["fp32", "bf16"], []])
def test_other_precisions_are_refused(tmp_path: Path, precisions: list[str]) -> None:
    with pytest.raises(ExportError, match="fp32, and with it int8, fp16 or both"):
        export(tmp_path / "bundle", precisions=precisions)


def test_int8_is_what_cpus_run_where_every_check_passed(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    for tower, precision in manifest.preferred_cpu.items():
        mine = [check for check in manifest.parity if check.tower == tower and check.name.startswith("int8 ")]
        assert len(mine) >= 4
        (mates,) = [check.value for check in mine if check.name == "int8 in a batch against alone"]
        assert mates > 0.9999
        assert precision == ("int8" if all(check.passed for check in mine) else "fp32")


def test_shorter_vectors_are_the_beginning_of_the_long_ones_at_length_1(encoder: Any) -> None:
    import torch

    from encoder_service.export.dual_encoder import reference_images
    from encoder_service.export.graphs.towers import ImageTower, UnitVectors

    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    whole = reference_images(encoder, pixels)
    cut = whole[:, :16] / np.linalg.norm(whole[:, :16], axis=1, keepdims=True)
    tower = UnitVectors(ImageTower(encoder.encode_image, encoder.normalisation), 16)
    with torch.no_grad():
        np.testing.assert_allclose(tower(torch.from_numpy(pixels)).numpy(), cut, atol=1e-6)
    np.testing.assert_allclose(reference_images(replace(encoder, dimension=16), pixels), cut, atol=1e-6)


def test_no_more_numbers_can_be_kept_than_there_are(encoder: Any) -> None:
    from encoder_service.export.sources.load import finished

    assert finished(encoder, 16).dimension == 16
    with pytest.raises(ExportError, match=r"dimension 33: vectors of .*clip-vit-tiny-test have 32 numbers"):
        finished(encoder, 33)


def test_int8_of_a_tower_that_is_mostly_convolutions_is_not_what_cpus_run() -> None:
    from encoder_service.export.build import for_cpus

    large = {"image.fp32.onnx": 100, "image.fp32.onnx.data": 900}
    for size, chosen in ((700, "fp32"), (300, "int8")):
        assert for_cpus("image", ["fp32", "int8"], {**large, "image.int8.onnx": size}) == chosen
    assert for_cpus("image", ["fp32"], large) == "fp32"
