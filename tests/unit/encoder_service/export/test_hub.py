"""What is asked of the hub, and what is said where it does not give it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from encoder_service.bundle import Source
from encoder_service.export import ExportError
from tests import checkpoints
from tests.hub import COMMIT, Hub

OLD_CLIP, CLIP, SHARDED = "openai/clip-tiny", "laion/clip-tiny", "someone/clip-sharded"
SIGLIP, OPEN_CLIP = "google/siglip-tiny", "hf-hub:timm/open-clip-tiny"
OPEN_CLIP_SIZES = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "layers": 1, "width": 32, "head_width": 16},
    "text_cfg": {"context_length": 24, "width": 32, "heads": 2, "layers": 1},
}
REFUSED = {"gated/model": (403, "GatedRepo"), "broken/model": (500, "")}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    hub = Hub(tmp_path / "hub", REFUSED)
    (hub.root / "some" / "model").mkdir(parents=True)
    with hub.serving() as address:
        point_at(address, tmp_path / "cache", monkeypatch)
        yield hub


def point_at(endpoint: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    template = "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))


def load(source: str, **options: Any) -> Any:
    from encoder_service.export.sources.load import load as load_source

    return load_source(source, **options)


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("gated/model", "gated/model is gated: accept its terms on its page, and set HF_TOKEN"),
        ("missing/model", "missing/model is not on the hub, or private"),
        ("some/model", "some/model has no revision 'v9'"),
        ("broken/model", "broken/model.*the hub cannot be reached: Server error '500"),
        ("hf-hub:missing/model", "^missing/model is not on the hub"),
        ("no id at all", "neither a folder here nor an id such as openai/clip-vit-base-patch32"),
    ],
)
def test_what_the_hub_does_not_give_is_said_in_one_sentence(source: str, message: str) -> None:
    with pytest.raises(ExportError, match=message) as caught:
        load(source, revision="v9")
    assert "\n" not in str(caught.value)


def lay_out(root: Path) -> dict[str, str]:
    """Repositories as they are published; the hashes of their weights."""
    from open_clip.model import convert_to_custom_text_state_dict

    from encoder_service.export.dual_encoder import weights_sha256

    open_clip_folder = root / OPEN_CLIP.removeprefix("hf-hub:")
    open_clip = checkpoints.open_clip(open_clip_folder, OPEN_CLIP_SIZES, None, {})
    states = {
        OLD_CLIP: checkpoints.old_clip(root / OLD_CLIP).state_dict(),
        CLIP: checkpoints.clip(root / CLIP)[0].state_dict(),
        SHARDED: checkpoints.clip(root / SHARDED, max_shard_size="300KB")[0].state_dict(),
        SIGLIP: checkpoints.siglip(root / SIGLIP)[0].state_dict(),
        OPEN_CLIP: convert_to_custom_text_state_dict(open_clip.state_dict()),
    }
    for older in (root / CLIP / "pytorch_model.bin", open_clip_folder / "open_clip_pytorch_model.bin"):
        older.write_bytes(b"the same in an older format")
    return {id: weights_sha256(state) for id, state in states.items()}


def test_every_layout_is_loaded_whole_and_nothing_else_is_fetched(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hashes = lay_out(hub.root)
    for id, expected in hashes.items():
        encoder = load(id)
        assert encoder.source == Source(id=id, revision=COMMIT, weights_sha256=expected)
        assert encoder.license == "mit"
    assert hub.others == [], "such as a conversion of the weights"
    fetched = [name for name, _ in hub.fetched]
    assert len(fetched) == len(set(fetched)), "nothing is fetched twice"
    shards = {f"{SHARDED}/{path.name}" for path in (hub.root / SHARDED).glob("*.safetensors")}
    assert len(shards) > 1
    assert {name for name in fetched if name.endswith((".bin", ".safetensors", ".h5", ".msgpack"))} == {
        f"{OLD_CLIP}/pytorch_model.bin",
        f"{CLIP}/model.safetensors",
        f"{SIGLIP}/model.safetensors",
        "timm/open-clip-tiny/open_clip_model.safetensors",
        *shards,
    }

    point_at("http://127.0.0.1:1", tmp_path / "cache", monkeypatch)
    for id in (SHARDED, OPEN_CLIP):
        assert load(id).source.weights_sha256 == hashes[id], "without the hub"


def test_without_a_network_the_cache_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    point_at("http://127.0.0.1:1", tmp_path, monkeypatch)
    with pytest.raises(ExportError, match=r"not in the hub's cache here, and the hub cannot be reached"):
        load("some/model")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("ViT-B-32:no-such-tag", r"no weights 'no-such-tag' of ViT-B-32; there are .*laion2b_s34b_b79k"),
        ("ViT-Z-99:openai", "no model 'ViT-Z-99'"),
    ],
)
def test_names_that_open_clip_does_not_have(source: str, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        load(source)


@pytest.mark.parametrize("source", ["ViT-B-32:openai", "FOLDER"])
def test_a_revision_is_of_the_hub_only(source: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="has no revision 'v1'"):
        load(source.replace("FOLDER", str(tmp_path)), revision="v1")


def test_code_of_a_models_own_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps(
            {"model_type": "jina_clip", "auto_map": {"AutoConfig": "configuration_clip.JinaCLIPConfig"}}
        )
    )
    (tmp_path / "configuration_clip.py").write_text("raise SystemExit('it was run')")
    with pytest.raises(ExportError, match="brings code of its own to run, which the exporter never does"):
        load(str(tmp_path))
