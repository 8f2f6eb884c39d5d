"""Fixtures that several test packages share."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODELS = ROOT / "build" / "models"


@pytest.fixture(scope="session")
def starter_bundle() -> Path:
    """The starter bundle, built once a checkout (`make model` builds it in the same place)."""
    from encoder_service.bundle import MANIFEST
    from encoder_service.export.starter import build_starter

    folder = MODELS / "starter"
    MODELS.mkdir(parents=True, exist_ok=True)
    with (MODELS / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test workers run side by side
        if not (folder / MANIFEST).is_file():
            build_starter(folder)
    return folder
