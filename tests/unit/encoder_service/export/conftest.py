"""Bundles of tiny random architectures, made once; tests copy before they change one."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bundles import shared_bundle

TINY = {"clip": "clip-vit-tiny-test", "siglip": "siglip-tiny-test"}


@pytest.fixture(scope="session", autouse=True)
def _operators_read_once() -> Iterator[None]:
    """torch parses the sources of all its operators' translations for every export: most of a second."""
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        once = functools.cache(ONNXRegistry.from_torchlib)
    except (ImportError, AttributeError):  # no torch, or one that is made otherwise inside: only slower
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(once))
        yield


def shared(family: str) -> Path:
    from encoder_service.export.build import export_bundle

    return shared_bundle(family, lambda folder: export_bundle(TINY[family], folder, random_init=True))


@pytest.fixture(scope="session")
def clip_bundle() -> Path:
    return shared("clip")


@pytest.fixture(scope="session")
def siglip_bundle() -> Path:
    return shared("siglip")


@pytest.fixture(params=["clip", "siglip"])
def bundle(request: pytest.FixtureRequest) -> Path:
    """Each of the two families in turn."""
    folder: Path = request.getfixturevalue(f"{request.param}_bundle")
    return folder


@pytest.fixture
def own_bundle(clip_bundle: Path, tmp_path: Path) -> Path:
    """A bundle that the test may break."""
    return Path(shutil.copytree(clip_bundle, tmp_path / "bundle"))
