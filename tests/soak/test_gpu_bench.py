"""The GPU benchmark at toy size on the CPU: every step but the card's own has run before a card is seen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from tests.bench.gpu import baselines, model, ours, service
from tests.bench.gpu.__main__ import measure
from tests.bench.gpu.report import Figures
from tests.soak.share import in_a_soak
from tests.toy_bundle import build_toy

pytestmark = in_a_soak  # it loads torch, and exports a model

TINY = "clip-vit-tiny-test"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> model.Model:
    """The tiny architecture, exported once."""
    return model.make_model(TINY, tmp_path_factory.mktemp("graphs"))


@pytest.fixture
def made_already(made: model.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "make_model", lambda name, folder: made)


def figures() -> Figures:
    return Figures("a CPU", "2026-11-24T00:00:00+00:00", {}, {})


def options(folder: Path, **changes: object) -> Namespace:
    toy = {
        "model": TINY,
        "out": folder,
        "batches": [1, 3, 8],
        "compile_batches": [2],
        "compile_with": {"backend": "eager"},
        "seconds": 0.03,
        "matmul": 64,
        "memory_batches": 40,
        "clients": 0,
        "bundle": None,
    }
    return Namespace(**{**toy, **changes})


@pytest.mark.usefixtures("made_already")
def test_all_steps_run_and_are_written(tmp_path: Path) -> None:
    found, path = figures(), tmp_path / "gpu.json"
    measure(found, options(tmp_path), "cpu", lambda: found.write(path))
    assert found.not_measured == ["the service (--clients 0)"]
    written = json.loads(path.read_text())
    for name in ("session_image_per_s", "compile_image_per_s", "image_vs_compile", "text_vs_compile"):
        assert written[name] > 0
    assert written["fraction_of_matmul_peak"] > 0
    assert written["p50_ms_batch1"] > 0
    assert written["service_image_per_s"] is None
    assert set(written["session"]["image"]) == {"1", "3", "8"}
    assert set(written["compile"]["text"]) == {"2"}
    assert min(written["cosine"].values()) > 0.999
    assert "Not measured: the service (--clients 0)." in found.table()


@pytest.mark.usefixtures("made_already")
def test_a_step_that_fails_takes_no_other_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> float:
        raise RuntimeError("CUDA out of memory\nand more")

    monkeypatch.setattr(baselines, "matmul_tflops", broken)
    found = figures()
    measure(found, options(tmp_path, batches=[1]), "cpu", lambda: None)
    assert found.not_measured[0] == "a large product in fp16 (CUDA out of memory)"
    assert found.summary()["fraction_of_matmul_peak"] is None
    assert found.summary()["session_image_per_s"] > 0


def test_ours_and_torch_compute_the_same(made: model.Model) -> None:
    import torch
    from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

    texts = ours.some_items(made, "text", 5)
    pixels = np.stack(ours.some_items(made, "image", 5))
    runs = ours.open_ours(made, "cpu", "fp16", 8).runs
    by_text, by_image = runs["text"](texts), runs["image"](list(pixels))
    with torch.inference_mode():
        ids = torch.tensor([text.ids for text in texts])
        assert (baselines.forward(made, "text", "cpu")(ids).numpy() * by_text).sum(1).min() > 0.999
        normalised = torch.from_numpy((pixels / 255 - OPENAI_CLIP_MEAN) / OPENAI_CLIP_STD).permute(0, 3, 1, 2)
        vectors = baselines.forward(made, "image", "cpu")(normalised.half()).numpy()
    assert (vectors * by_image).sum(1).min() > 0.999


def test_the_service_is_loaded_with_pixels_and_jpegs(tmp_path: Path) -> None:
    build_toy(tmp_path / "bundle")
    corpus = tmp_path / "corpus"
    (corpus / "small").mkdir(parents=True)
    Image.new("RGB", (80, 60), (200, 30, 30)).save(corpus / "small" / "0.jpg")
    rates = service.measure(tmp_path / "bundle", corpus, tmp_path, "cpu", 1, 0.5, Console(quiet=True))
    assert rates["raw"] > 0
    assert rates["jpeg"] > 0


def test_without_a_card_it_says_so_and_measures_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.bench.gpu", "--out", str(tmp_path / "out")]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    if "nothing was measured" not in done.stdout:
        pytest.skip("there is a GPU here")
    assert done.returncode == 0
    assert done.stdout.startswith("bench-gpu: ")
    assert done.stdout.count("\n") == 1
    assert not (tmp_path / "out").exists()
