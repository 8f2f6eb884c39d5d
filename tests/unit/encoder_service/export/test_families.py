"""The exported graphs against transformers' own forward passes, over configurations that differ."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from encoder_service.export.normalisation import Normalisation
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


def siglip(size: int) -> Any:
    import torch
    from transformers import SiglipConfig, SiglipModel

    torch.manual_seed(0)
    ends = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
    configuration = SiglipConfig(
        text_config={**TEXT, **ends, "projection_size": 32}, vision_config={**IMAGE, "image_size": size}
    )
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
    from encoder_service.bundle import TextRules
    from encoder_service.export.families.fast import FAST_IMAGE, FAST_TEXT
    from encoder_service.export.graphs.towers import UnitVectors, export_image, export_text

    folder = tmp_path_factory.mktemp("towers")
    rules = TextRules(context_length=16, pad_id=0, padding="longest")

    @cache
    def export(family: str, tower: str, size: int = 48, **text: Any) -> tuple[Any, Path]:
        model = siglip(size) if family == "siglip" else clip(**text)
        path = folder / "-".join([family, tower, str(size), *map(str, text.values())])
        if tower == "image":
            export_image(UnitVectors(FAST_IMAGE[family](model, VALUES), 32), size, path)
        else:
            export_text(UnitVectors(FAST_TEXT[family](model), 32), rules, path)
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


# 50 is no multiple of 16: the convolution leaves out what is over, as in siglip-so400m-patch14-384.
@pytest.mark.parametrize(
    ("family", "size", "settings"),
    [
        ("clip", 48, {"hidden_act": "quick_gelu"}),
        ("clip", 48, {"hidden_act": "gelu"}),
        ("siglip", 48, {}),
        ("siglip", 50, {}),
    ],
)
def test_images(exported: Exported, family: str, size: int, settings: dict[str, str]) -> None:
    model, path = exported(family, "image", size, **settings)
    pixels = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    normalised = ((pixels / 255 - np.array(VALUES.mean)) / np.array(VALUES.std)).astype(np.float32)
    expected = by_torch(model.get_image_features, pixel_values=normalised.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(run(path, pixels=pixels), expected, atol=2e-6)


# Configurations of before 2023 say 2, and pool at the highest id.
@pytest.mark.parametrize(("length", "settings"), [(2, {}), (9, {}), (16, {}), (9, {"eos_token_id": 2})])
def test_clip_texts_pool_at_the_first_end_token(
    exported: Exported, length: int, settings: dict[str, int]
) -> None:
    model, path = exported("clip", "text", **settings)
    ids = clip_ids(4, length)
    expected = by_torch(model.get_text_features, input_ids=ids)
    np.testing.assert_allclose(run(path, input_ids=ids), expected, atol=2e-6)


def test_what_follows_the_end_token_changes_nothing(exported: Exported) -> None:
    _, path = exported("clip", "text")
    text = np.array([[98, 5, 6, 99]], dtype=np.int64)
    padded = np.concatenate([text, np.full((1, 12), 7, np.int64)], axis=1)
    np.testing.assert_allclose(run(path, input_ids=padded), run(path, input_ids=text), atol=1e-6)


def test_siglip_texts_see_their_padding(exported: Exported) -> None:
    model, path = exported("siglip", "text")
    ids = np.zeros((2, 16), np.int64)
    ids[:, :3] = [[5, 6, 1], [9, 8, 1]]
    expected = by_torch(model.get_text_features, input_ids=ids)
    np.testing.assert_allclose(run(path, input_ids=ids), expected, atol=2e-6)
    assert np.abs(run(path, input_ids=ids[:, :3]) - expected).max() > 1e-4


def test_a_graph_tells_nothing_of_the_machine_that_made_it(exported: Exported) -> None:
    import torch

    _, path = exported("clip", "text")
    content = path.read_bytes()
    assert b".py" not in content
    assert str(Path(torch.__file__).parent).encode() not in content


def test_a_faster_tower_that_gives_other_vectors_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from encoder_service.export.dual_encoder import reference_images
    from encoder_service.export.families import clip, fast
    from encoder_service.export.sources.load import load_random
    from encoder_service.export.write_graphs import write_image

    class Other(clip.Image):
        def forward(self, pixels: Any) -> Any:
            return super().forward(pixels).roll(1, dims=1)

    monkeypatch.setitem(fast.FAST_IMAGE, "clip", Other)
    encoder, said = load_random("clip-vit-tiny-test", 0), []
    write_image(encoder, tmp_path / "image.onnx", said.append)
    assert said == ["the faster image tower is not taken: its vectors are not those of the model"]
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    own = reference_images(encoder, pixels)
    np.testing.assert_allclose(run(tmp_path / "image.onnx", pixels=pixels), own, atol=2e-6)


def test_fastvits_branches_join_into_one_and_other_models_have_no_faster_tower() -> None:
    import torch
    from timm.models.fastvit import MobileOneBlock

    from encoder_service.export.families import fastvit

    block = MobileOneBlock(3, 8, 3, num_conv_branches=3)
    model = torch.nn.Module()
    model.visual = torch.nn.Sequential(block, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # fresh ones do nothing that could get lost
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    tower = fastvit.image(model.eval(), VALUES)
    assert tower is not None
    assert len(list(tower.modules())) < len(list(model.modules()))
    pixels = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8)
    values = (pixels.permute(0, 3, 1, 2) / 255 - torch.tensor(VALUES.mean).view(1, 3, 1, 1)) / torch.tensor(
        VALUES.std
    ).view(1, 3, 1, 1)
    with torch.no_grad():
        np.testing.assert_allclose(tower(pixels), model.visual(values), atol=1e-4)
    model.visual = torch.nn.Flatten()
    assert fastvit.image(model, VALUES) is None
