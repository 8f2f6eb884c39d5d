"""The exported graphs against transformers' own forward passes, over configurations that differ."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from encoder_service.export.preprocessing import Normalisation

Exported = Callable[..., tuple[Any, Path]]

VALUES = Normalisation((0.48, 0.46, 0.41), (0.27, 0.26, 0.28))
VISION = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
IMAGE = {**VISION, "image_size": 48, "patch_size": 16, "projection_dim": 24}
TEXT = {**VISION, "vocab_size": 100, "max_position_embeddings": 16, "projection_dim": 24}
ENDS = {"bos_token_id": 98, "eos_token_id": 99, "pad_token_id": 99}


def clip(**text: Any) -> Any:
    import torch
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    configuration = CLIPConfig(
        text_config={**TEXT, **ENDS, **text}, vision_config={**IMAGE, **text}, projection_dim=24
    )
    return with_biases(CLIPModel(configuration))


def siglip() -> Any:
    import torch
    from transformers import SiglipConfig, SiglipModel

    torch.manual_seed(0)
    ends = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
    configuration = SiglipConfig(text_config={**TEXT, **ends, "projection_size": 32}, vision_config=IMAGE)
    return with_biases(SiglipModel(configuration))


def with_biases(model: Any) -> Any:
    """Trained weights have them; fresh ones are 0, and a bias that got lost would not show."""
    import torch

    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.5)
    return model.eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A model of a configuration, and the graph of its image or text tower; exported once."""
    from encoder_service.export import towers

    folder = tmp_path_factory.mktemp("towers")

    @cache
    def export(tower: type[Any], **text: Any) -> tuple[Any, Path]:
        model = siglip() if tower.__name__.startswith("Siglip") else clip(**text)
        path = folder / "-".join([tower.__name__, *map(str, text.values())])
        if tower in (towers.ClipImage, towers.SiglipImage):
            towers.export_image(tower(model, VALUES), 48, path)
        else:
            towers.export_text(tower(model), 16, path)
        return model, path

    return export


def onnx(path: Path, **inputs: np.ndarray) -> np.ndarray:
    import onnxruntime as ort

    return np.asarray(ort.InferenceSession(path).run(None, inputs)[0])


def unit(vectors: Any) -> np.ndarray:
    import torch

    return np.asarray(torch.nn.functional.normalize(vectors, dim=-1).numpy())


def pixels(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 48, 48, 3), dtype=np.uint8)


def normalised(raw: np.ndarray) -> Any:
    import torch

    values = (raw / 255 - np.array(VALUES.mean)) / np.array(VALUES.std)
    return torch.tensor(values, dtype=torch.float32).permute(0, 3, 1, 2)


def clip_ids(count: int, length: int, end: int = 99) -> np.ndarray:
    """The end token at different places, something else behind it."""
    rng = np.random.default_rng(1)
    ids = rng.integers(3, 90, (count, length))
    for row in ids:
        row[rng.integers(1, length)] = end
    return ids.astype(np.int64)


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_clip_images(exported: Exported, activation: str) -> None:
    import torch

    from encoder_service.export import towers

    model, path = exported(towers.ClipImage, hidden_act=activation)
    with torch.no_grad():
        expected = unit(model.get_image_features(pixel_values=normalised(pixels(3))).pooler_output)
    np.testing.assert_allclose(onnx(path, pixels=pixels(3)), expected, atol=2e-6)


def test_quick_gelu_is_not_taken_for_gelu(exported: Exported) -> None:
    from encoder_service.export import towers

    paths = [exported(towers.ClipImage, hidden_act=activation)[1] for activation in ("quick_gelu", "gelu")]
    quick, plain = (onnx(path, pixels=pixels(1)) for path in paths)
    assert np.abs(quick - plain).max() > 1e-4


@pytest.mark.parametrize("length", [2, 9, 16])
def test_clip_texts_pool_at_the_first_end_token(exported: Exported, length: int) -> None:
    import torch

    from encoder_service.export import towers

    model, path = exported(towers.ClipText)
    ids = clip_ids(4, length)
    ids[0, 1] = 99  # a second end token behind it must not matter
    with torch.no_grad():
        expected = unit(model.get_text_features(input_ids=torch.from_numpy(ids)).pooler_output)
    np.testing.assert_allclose(onnx(path, input_ids=ids), expected, atol=2e-6)


def test_clip_configurations_of_before_2023_pool_at_the_highest_id(exported: Exported) -> None:
    import torch

    from encoder_service.export import towers

    model, path = exported(towers.ClipText, eos_token_id=2)
    ids = clip_ids(4, 9)
    with torch.no_grad():
        expected = unit(model.get_text_features(input_ids=torch.from_numpy(ids)).pooler_output)
    np.testing.assert_allclose(onnx(path, input_ids=ids), expected, atol=2e-6)


def test_what_follows_the_end_token_changes_nothing(exported: Exported) -> None:
    from encoder_service.export import towers

    _, path = exported(towers.ClipText)
    text = np.array([[98, 5, 6, 99]], dtype=np.int64)
    padded = np.concatenate([text, np.full((1, 12), 7, np.int64)], axis=1)
    np.testing.assert_allclose(onnx(path, input_ids=padded), onnx(path, input_ids=text), atol=1e-6)


def test_siglip_images(exported: Exported) -> None:
    import torch

    from encoder_service.export import towers

    model, path = exported(towers.SiglipImage)
    with torch.no_grad():
        expected = unit(model.get_image_features(pixel_values=normalised(pixels(3))).pooler_output)
    np.testing.assert_allclose(onnx(path, pixels=pixels(3)), expected, atol=2e-6)


def test_siglip_texts_see_their_padding(exported: Exported) -> None:
    import torch

    from encoder_service.export import towers

    model, path = exported(towers.SiglipText)
    ids = np.zeros((2, 16), np.int64)
    ids[:, :3] = [[5, 6, 1], [9, 8, 1]]
    with torch.no_grad():
        expected = unit(model.get_text_features(input_ids=torch.from_numpy(ids)).pooler_output)
    np.testing.assert_allclose(onnx(path, input_ids=ids), expected, atol=2e-6)
    assert np.abs(onnx(path, input_ids=ids[:, :3]) - expected).max() > 1e-4


def test_a_graph_tells_nothing_of_the_machine_that_made_it(exported: Exported) -> None:
    import torch

    from encoder_service.export import towers

    _, path = exported(towers.ClipText)
    content = path.read_bytes()
    assert b".py" not in content
    assert str(Path(torch.__file__).parent).encode() not in content
