"""CLIP ViT-B/32 at its real size: the figures that the project promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from encoder_service.bundle import open_bundle
from tests.soak.share import in_a_soak

pytestmark = [in_a_soak, pytest.mark.timeout(900)]


def test_vit_b32_keeps_its_vectors_through_export_cutting_and_int8(tmp_path: Path) -> None:
    from encoder_service.export.build import export_bundle

    manifest = export_bundle("clip-vit-base-patch32", tmp_path / "bundle", random_init=True)
    figures = {(check.tower, check.name, check.metric): check.value for check in manifest.parity}

    assert open_bundle(tmp_path / "bundle") == manifest
    assert (manifest.dimension, manifest.image.size, manifest.text.context_length) == (512, 224, 77)
    for tower in ("image", "text"):
        assert figures[tower, "fp32 against torch", "minimum cosine"] >= 0.99999
        assert figures[tower, "int8 against fp32", "mean cosine"] >= 0.999
        assert figures[tower, "int8 against fp32", "R@10 lost, points"] <= 1
        assert figures[tower, "int8 in a batch against alone", "minimum cosine"] >= 0.99999
    assert figures["text", "fp32 cut against padded to the context", "largest difference"] <= 1e-6
    assert manifest.preferred_cpu == {"image": "int8", "text": "int8"}
    assert manifest.files["image.int8.onnx"].bytes < manifest.files["image.fp32.onnx"].bytes / 3.5
