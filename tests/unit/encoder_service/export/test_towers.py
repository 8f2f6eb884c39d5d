"""The exported graphs against transformers' own forward passes, over configurations that differ."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from encoder_service.export.preprocessing import Normalisation
from tests.unit.encoder_service.export.graphs import run

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
    def export(name: str, **text: Any) -> tuple[Any, Path]:
        model = siglip() if name.startswith("Siglip") else clip(**text)
        tower, path = getattr(towers, name), folder / "-".join([name, *map(str, text.values())])
        if name.endswith("Image"):
            towers.export_image(tower(model, VALUES), 48, path)
        else:
            towers.export_text(tower(model), 16, path)
        return model, path

    return export


def by_torch(features: Callable[..., Any], **inputs: Any) -> np.ndarray:
    """The unit vectors that transformers gives."""
    import torch

    with torch.no_grad():
        given = {name: torch.as_tensor(values) for name, values in inputs.items()}
        return np.asarray(torch.nn.functional.normalize(features(**given).pooler_output, dim=-1).numpy())


def clip_ids(count: int, length: int) -> np.ndarray:
    """The end token at different places, something else behind it."""
    rng = np.random.default_rng(1)
    ids = rng.integers(3, 90, (count, length))
    for row in ids:
        row[rng.integers(1, length)] = 99
    ids[0, 1] = 99  # a second end token behind it must not matter
    return ids.astype(np.int64)


@pytest.mark.parametrize(
    ("tower", "settings"),
    [("ClipImage", {"hidden_act": "quick_gelu"}), ("ClipImage", {"hidden_act": "gelu"}), ("SiglipImage", {})],
)
def test_images(exported: Exported, tower: str, settings: dict[str, str]) -> None:
    model, path = exported(tower, **settings)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3), dtype=np.uint8)
    normalised = ((pixels / 255 - np.array(VALUES.mean)) / np.array(VALUES.std)).astype(np.float32)
    expected = by_torch(model.get_image_features, pixel_values=normalised.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(run(path, pixels=pixels), expected, atol=2e-6)


# Configurations of before 2023 say 2, and pool at the highest id.
@pytest.mark.parametrize(("length", "settings"), [(2, {}), (9, {}), (16, {}), (9, {"eos_token_id": 2})])
def test_clip_texts_pool_at_the_first_end_token(
    exported: Exported, length: int, settings: dict[str, int]
) -> None:
    model, path = exported("ClipText", **settings)
    ids = clip_ids(4, length)
    expected = by_torch(model.get_text_features, input_ids=ids)
    np.testing.assert_allclose(run(path, input_ids=ids), expected, atol=2e-6)


def test_what_follows_the_end_token_changes_nothing(exported: Exported) -> None:
    _, path = exported("ClipText")
    text = np.array([[98, 5, 6, 99]], dtype=np.int64)
    padded = np.concatenate([text, np.full((1, 12), 7, np.int64)], axis=1)
    np.testing.assert_allclose(run(path, input_ids=padded), run(path, input_ids=text), atol=1e-6)


def test_siglip_texts_see_their_padding(exported: Exported) -> None:
    model, path = exported("SiglipText")
    ids = np.zeros((2, 16), np.int64)
    ids[:, :3] = [[5, 6, 1], [9, 8, 1]]
    expected = by_torch(model.get_text_features, input_ids=ids)
    np.testing.assert_allclose(run(path, input_ids=ids), expected, atol=2e-6)
    assert np.abs(run(path, input_ids=ids[:, :3]) - expected).max() > 1e-4


def test_a_graph_tells_nothing_of_the_machine_that_made_it(exported: Exported) -> None:
    import torch

    _, path = exported("ClipText")
    content = path.read_bytes()
    assert b".py" not in content
    assert str(Path(torch.__file__).parent).encode() not in content
