"""The model bundles that are measured, built when they are not there yet."""

from __future__ import annotations

import subprocess
from pathlib import Path

from encoder_service.bundle import MANIFEST
from tests.processes import cli

ROOT = Path(__file__).parents[2]
OUT = ROOT / "build" / "bench"
STARTER = ROOT / "build" / "models" / "starter"
CLIP = ROOT / "build" / "models" / "clip-vit-base-patch32-random"

_HOW = {STARTER: ["starter"], CLIP: ["export", "--random-init", "clip-vit-base-patch32"]}


def missing(bundle: Path) -> bool:
    """Whether the bundle is still to be built."""
    return not (bundle / MANIFEST).is_file()


def build(bundle: Path) -> None:
    """Builds STARTER or CLIP: the real architecture, with random weights."""
    command = cli("model", *_HOW[bundle], "--out", str(bundle))
    subprocess.run(command, check=True, timeout=1200)
