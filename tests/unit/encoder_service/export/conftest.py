"""Bundles of tiny random architectures, made once a session; tests copy before they change one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from encoder_service.export.clip import export_bundle

TINY = {"clip": "clip-vit-tiny-test", "siglip": "siglip-tiny-test"}


@pytest.fixture(scope="session")
def clip_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "clip"
    export_bundle(TINY["clip"], folder, random_init=True)
    return folder


@pytest.fixture(scope="session")
def siglip_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "siglip"
    export_bundle(TINY["siglip"], folder, random_init=True)
    return folder


@pytest.fixture(params=["clip", "siglip"])
def bundle(request: pytest.FixtureRequest) -> Path:
    """Each of the two families in turn."""
    folder: Path = request.getfixturevalue(f"{request.param}_bundle")
    return folder


@pytest.fixture
def own_bundle(clip_bundle: Path, tmp_path: Path) -> Path:
    """A bundle that the test may break."""
    return Path(shutil.copytree(clip_bundle, tmp_path / "bundle"))
