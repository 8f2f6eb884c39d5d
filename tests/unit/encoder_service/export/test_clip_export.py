from __future__ import annotations

import math
from pathlib import Path
from typing import Any

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
from encoder_service.export import ExportError, graph_edit


def export(folder: Path, **options: Any) -> Manifest:
    from encoder_service.export.clip import export_bundle

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


def test_the_fingerprint_is_that_of_weights_tokenizer_and_preprocessing(bundle: Path) -> None:
    manifest = open_bundle(bundle)
    assert manifest.fingerprint == space_fingerprint(
        manifest.source.weights_sha256, manifest.files["tokenizer.json"].sha256, manifest.image, manifest.text
    )


@pytest.fixture
def by_copies(clip_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch would export again, in seconds, is written again from the shared bundle."""
    from encoder_service.export import towers

    def export_again(tower: object, size: int, path: Path) -> None:
        graph_edit.save_graph(ir.load(clip_bundle / path.name), path)

    monkeypatch.setattr(towers, "export_image", export_again)
    monkeypatch.setattr(towers, "export_text", export_again)


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
    from encoder_service.export import towers

    before = open_bundle(own_bundle)

    def fail(_: object, __: object, graph: Path) -> None:
        graph.write_bytes(b"half of a graph")
        raise ExportError("out of ideas")

    monkeypatch.setattr(towers, "export_image", fail)
    with pytest.raises(ExportError, match="out of ideas"):
        export(own_bundle, seed=1)
    assert open_bundle(own_bundle) == before
    assert [path.name for path in own_bundle.parent.iterdir()] == [own_bundle.name]


@pytest.mark.usefixtures("by_copies")
def test_weights_too_large_for_one_file_lie_beside_the_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_edit, "MAX_INLINE_BYTES", 300_000)
    manifest = export(tmp_path / "bundle")
    assert "image.fp32.onnx.data" in manifest.files
    assert "image.int8.onnx.data" not in manifest.files  # a quarter of the size
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
