"""The model bundles that are measured, built when they are not there yet."""

from __future__ import annotations

import subprocess
from pathlib import Path

from encoder_service.bundle import BundleError, read_manifest
from tests.processes import cli

ROOT = Path(__file__).parents[2]
OUT = ROOT / "build" / "bench"
STARTER = ROOT / "build" / "models" / "starter"
CLIP = ROOT / "build" / "models" / "clip-vit-base-patch32-random"
CLIP_FP16 = ROOT / "build" / "models" / "clip-vit-base-patch32-random-fp16"

_EXPORT = ["export", "--random-init", "clip-vit-base-patch32"]
_HOW = {STARTER: ["starter"], CLIP: _EXPORT, CLIP_FP16: [*_EXPORT, "--precision", "fp32,fp16"]}


def build(bundle: Path) -> Path:
    """Builds one of the three unless it is there: the real architecture, with random weights."""
    try:
        read_manifest(bundle)
    except BundleError:  # none, or one of an older format
        print(f"building {bundle.name}", flush=True)
        command = cli("model", *_HOW[bundle], "--out", str(bundle))
        subprocess.run(command, check=True, timeout=1800)
    return bundle
