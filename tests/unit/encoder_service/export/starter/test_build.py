"""The starter model: its graphs against torch, its bundle, and what it finds."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from encoder_service.bundle import TOKENIZER, ImageRules, open_bundle
from encoder_service.export.starter import build
from encoder_service.export.starter.build import PAD_FACTOR, build_starter
from encoder_service.export.starter.image import LOOKS, SIZE, TEMPERATURE, image_graph, looks_basis
from encoder_service.export.starter.parts import Parts, read_parts
from encoder_service.export.starter.text import text_graph
from encoder_service.inputs.texts import TextTokenizer, pad
from encoder_service.runtime.session import OnnxSession
from tests.decoded import prepare_image

FEW = 150  # classes; the looks need 128


@pytest.fixture(scope="module")
def parts():
    return read_parts(print)


@pytest.fixture(scope="module")
def seen(photos: list[Path]) -> dict[str, np.ndarray]:
    """The sample photographs as the model sees them, by name."""
    rules = ImageRules(size=SIZE, resize="pad", pad_factor=PAD_FACTOR)
    return {path.stem: prepare_image(path.read_bytes(), rules).pixels for path in photos}


def run(model, **inputs) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


def test_the_image_graph_is_the_published_network_and_the_recipe(parts, seen):
    import torch
    from efficientnet_lite_pytorch import EfficientNet

    rng = np.random.default_rng(3)
    classes = rng.standard_normal((1000, 384)).astype(np.float32)
    classes /= np.linalg.norm(classes, axis=1, keepdims=True)
    noise = rng.integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    batch = np.concatenate([noise, np.stack([seen["chelsea"], seen["rocket"]])])
    network = EfficientNet.from_name("efficientnet-lite2").eval()
    network.load_state_dict({name: torch.from_numpy(w.copy()) for name, w in parts.image_weights.items()})
    with torch.no_grad():
        pixels = (torch.from_numpy(batch).permute(0, 3, 1, 2).float() - 127) / 128
        features = network.extract_features(pixels).mean((2, 3))
        shares = torch.softmax(network._fc(features) / TEMPERATURE, 1).numpy()
    meaning = shares @ classes
    looks = features.numpy() @ looks_basis(parts.image_weights["_fc.weight"])
    expected = np.concatenate(
        [part / np.linalg.norm(part, axis=1, keepdims=True) for part in (meaning, looks)], axis=1
    ) / np.sqrt(2)
    actual = run(image_graph(parts.image_weights, classes), pixels=batch)
    assert actual.shape == (4, 384 + LOOKS)
    assert (actual * expected).sum(1).min() >= 0.99999
    np.testing.assert_allclose(np.linalg.norm(actual, axis=1), 1, atol=1e-5)


def test_the_text_graph_is_minilm(parts):
    import torch
    import transformers

    config = transformers.BertConfig(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    )
    network = transformers.BertModel(config, add_pooling_layer=False).eval()
    weights = {name: torch.from_numpy(w.copy()) for name, w in parts.text_weights.items()}
    missing = network.load_state_dict(weights, strict=False).missing_keys
    assert missing == []
    ids = np.array([[101, 1037, 4937, 102, 0, 0], [101, 1037, 2452, 1997, 4157, 102]], np.int64)
    mask = torch.from_numpy(ids != 0).float()
    with torch.no_grad():
        states = network(torch.from_numpy(ids), attention_mask=mask).last_hidden_state
    pooled = (states * mask[..., None]).sum(1)
    expected = (pooled / pooled.norm(dim=1, keepdim=True)).numpy()
    fp32, int8 = (run(text_graph(parts.text_weights, p), input_ids=ids) for p in ("fp32", "int8"))
    assert (fp32 * expected).sum(1).min() >= 0.99999
    assert (int8 * expected).sum(1).min() >= 0.998


def build_few(folder: Path, parts: Parts | None = None) -> None:
    """A bundle that knows a part of the classes: describing all of them takes most of a build."""
    parts = parts or read_parts(print)
    classifier = {name: parts.image_weights[name][:FEW] for name in ("_fc.weight", "_fc.bias")}
    few = replace(parts, classes=parts.classes[:FEW], image_weights={**parts.image_weights, **classifier})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "read_parts", lambda say: few)
        build_starter(folder)


@pytest.mark.timeout(300)
def test_two_builds_give_the_same_bytes(parts, tmp_path):
    build_few(tmp_path / "here", parts)
    other = multiprocessing.get_context("spawn").Process(target=build_few, args=(tmp_path / "elsewhere",))
    other.start()
    other.join()
    names = sorted(path.name for path in (tmp_path / "here").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "elsewhere").iterdir())
    for name in names:
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "elsewhere" / name).read_bytes(), name


def test_the_manifest_is_honest(starter_bundle: Path):
    manifest = open_bundle(starter_bundle)
    assert manifest.name == "starter"
    assert "CLIP" not in manifest.name
    assert manifest.pretrained
    assert "ImageNet" in manifest.source.notes
    assert manifest.license == "Apache-2.0"
    (cost,) = [check for check in manifest.parity if check.metric == "mean cosine"]
    assert (cost.tower, cost.name, cost.passed) == ("text", "int8 against fp32", True)
    assert 0.99 <= cost.value < 1
    tokenizer = json.loads((starter_bundle / TOKENIZER).read_text())
    assert (tokenizer["truncation"], tokenizer["padding"]) == (None, None)


@pytest.fixture(scope="module")
def found(starter_bundle: Path, seen):
    """Cosines of five texts against the photographs, and of the photographs among themselves."""
    manifest = open_bundle(starter_bundle)
    image = OnnxSession(starter_bundle / "image.fp32.onnx", "cpu", 2)
    text = OnnxSession(starter_bundle / "text.int8.onnx", "cpu", 2)
    looks = np.concatenate([image.run({"pixels": pixels[None]}) for pixels in seen.values()])
    tokenizer = TextTokenizer(starter_bundle, manifest.text)

    def by_words(words: str) -> list[str]:
        vector = text.run(pad(tokenizer.encode([words]), manifest.text))[0]
        return [list(seen)[i] for i in np.argsort(-(looks @ vector))]

    def by_image(name: str) -> list[str]:
        vector = looks[list(seen).index(name)]
        return [list(seen)[i] for i in np.argsort(-(looks @ vector))]

    return by_words, by_image


@pytest.mark.parametrize(
    ("words", "first"),
    [
        ("a cat", "chelsea"),
        ("a cup of coffee", "coffee"),
        ("a motorcycle", "motorcycle"),
        ("a flower", "flower"),
        ("a rocket", "rocket"),
    ],
)
def test_the_right_photograph_comes_first(found, words, first):
    assert found[0](words)[0].startswith(first)


def test_a_photograph_finds_its_twin(found):
    assert found[1]("motorcycle_left")[:2] == ["motorcycle_left", "motorcycle_right"]
