from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from encoder_service.bundle import (
    ParityCheck,
    file_entry,
    open_bundle,
    read_manifest,
    write_manifest,
)
from encoder_service.export import verify
from encoder_service.export.verify import report, verify_bundle
from encoder_service.runtime.providers import SessionError

WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # an import of it fails, as where it is not installed
from pathlib import Path
from encoder_service.export.verify import verify_bundle
checks = verify_bundle(Path(sys.argv[1]), progress=print)
print("torch checks:", sum("torch" in check.name for check in checks), "of", len(checks))
"""


def of(checks: list[ParityCheck], tower: str, name: str, metric: str) -> ParityCheck:
    (found,) = [c for c in checks if (c.tower, c.name, c.metric) == (tower, name, metric)]
    return found


def replace_graph(folder: Path, name: str, path: Path) -> None:
    """Puts another graph under a name and into the manifest, as an honest exporter with a bug would."""
    (folder / name).write_bytes(path.read_bytes())
    manifest = read_manifest(folder)
    files = {**manifest.files, name: file_entry(folder / name)}
    write_manifest(folder, manifest.model_copy(update={"files": files}))


def with_noise(source: Path, target: Path, share: float) -> Path:
    """A graph whose int8 scales are off by a random factor each."""
    model, rng = onnx.load(source), np.random.default_rng(0)
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if weight.name.endswith(".scale") and values.size > 1:
            noisy = values * (1 + share * rng.normal(size=values.shape)).astype(np.float32)
            weight.CopyFrom(numpy_helper.from_array(noisy, weight.name))
    onnx.save(model, target)
    return target


def test_a_fresh_bundle_passes_and_carries_its_report(own_bundle: Path) -> None:
    checks = verify_bundle(own_bundle)
    assert all(check.passed for check in checks)
    assert open_bundle(own_bundle).parity == checks
    for tower in ("image", "text"):
        assert of(checks, tower, "fp32 against torch", "minimum cosine").value >= 0.99999
        assert of(checks, tower, "int8 in a batch against alone", "minimum cosine").value > 0.9999
        assert of(checks, tower, "int8 against fp32", "mean cosine").value < 1
    assert of(checks, "text", "fp32 cut against padded to the context", "largest difference").value < 1e-6


def test_a_text_tower_that_sees_its_padding_is_not_asked_about_cutting(siglip_bundle: Path) -> None:
    assert not [check for check in open_bundle(siglip_bundle).parity if "padded" in check.name]


def test_a_bad_int8_graph_and_an_fp32_graph_of_other_weights_are_found(
    own_bundle: Path, tmp_path: Path
) -> None:
    noisy = with_noise(own_bundle / "image.int8.onnx", tmp_path / "noisy.onnx", 0.5)
    replace_graph(own_bundle, "image.int8.onnx", noisy)
    model = onnx.load(own_bundle / "text.fp32.onnx")
    table = max(model.graph.initializer, key=lambda weight: len(weight.raw_data))
    table.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(table) * 0.5 + 0.01, table.name))
    onnx.save(model, tmp_path / "other.onnx")
    replace_graph(own_bundle, "text.fp32.onnx", tmp_path / "other.onnx")

    checks = verify_bundle(own_bundle)

    assert of(checks, "image", "fp32 against torch", "minimum cosine").passed
    assert not of(checks, "image", "int8 against fp32", "mean cosine").passed
    assert open_bundle(own_bundle).preferred_cpu["image"] == "fp32", "it was int8"
    assert not of(checks, "text", "fp32 against torch", "minimum cosine").passed
    assert not of(checks, "text", "fp32 against the known answer", "cosine").passed


def test_it_works_without_torch_and_keeps_what_was_measured_with_it(own_bundle: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_TORCH, str(own_bundle)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "torch is not installed" in done.stdout
    assert "torch checks: 0 of " in done.stdout
    assert of(open_bundle(own_bundle).parity, "image", "fp32 against torch", "minimum cosine").passed


def test_a_later_check_takes_the_place_of_the_earlier_one(clip_bundle: Path) -> None:
    manifest = open_bundle(clip_bundle)
    old = of(manifest.parity, "text", "int8 against fp32", "mean cosine")
    missed = old.model_copy(update={"value": 0.5, "passed": False})
    after = report(manifest, [missed])
    assert of(after.parity, "text", "int8 against fp32", "mean cosine") == missed
    assert len(after.parity) == len(manifest.parity)
    assert after.preferred_cpu == {"image": "int8", "text": "fp32"}


def test_what_was_set_to_fp32_is_not_set_back_to_int8(clip_bundle: Path) -> None:
    manifest = open_bundle(clip_bundle)
    slow = manifest.model_copy(update={"preferred_cpu": {"image": "fp32", "text": "int8"}})
    assert report(slow, manifest.parity).preferred_cpu == {"image": "fp32", "text": "int8"}


def test_a_source_that_only_has_the_same_name_is_not_compared_with(own_bundle: Path) -> None:
    manifest = open_bundle(own_bundle)
    other = manifest.source.model_copy(update={"revision": "seed 1"})
    write_manifest(own_bundle, manifest.model_copy(update={"source": other, "parity": []}))
    said: list[str] = []
    checks = verify_bundle(own_bundle, progress=said.append)
    assert not [check for check in checks if "torch" in check.name]
    assert any("other weights" in line for line in said)


def test_a_card_measures_the_graphs_that_it_runs(own_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the CPU in its place."""
    with pytest.raises(SessionError, match="CUDAExecutionProvider was asked for"):
        verify_bundle(own_bundle, provider="cuda")
    opened = verify.OnnxSession
    monkeypatch.setattr(verify, "choose_provider", lambda provider, device: None)
    monkeypatch.setattr(verify, "OnnxSession", lambda path, provider, threads: opened(path, "cpu", threads))
    before = open_bundle(own_bundle).parity
    checks = verify_bundle(own_bundle, provider="cuda")
    assert all(check.passed and check.name.endswith(" on CUDA") for check in checks)
    assert not [check for check in checks if "int8" in check.name]
    assert open_bundle(own_bundle).parity == [*checks, *before]
