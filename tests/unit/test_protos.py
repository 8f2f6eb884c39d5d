"""The generated API is what protos/ says; `make lint` has buf look at the protos."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def generated(folder: Path) -> dict[str, bytes]:
    document = folder / "clipsearch" / "gateway" / "openapi.json"
    return {"openapi.json": document.read_bytes()} | {
        str(path.relative_to(folder)): path.read_bytes()
        for service in ("encoder", "search")
        for path in sorted((folder / "clipsearch" / service / "v1").iterdir())
        if path.suffix in (".py", ".pyi")
    }


def test_generated_code_is_current(tmp_path):
    subprocess.run([ROOT / "protos" / "generate.sh", sys.executable, tmp_path], check=True)
    fresh = generated(tmp_path)
    assert len(fresh) >= 20
    assert generated(ROOT) == fresh, "stale: run `make protos`"
