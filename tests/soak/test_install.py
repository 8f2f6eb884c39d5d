"""`pip install clipsearch` is the client and nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.soak.share import in_a_soak

ROOT = Path(__file__).parents[2]
SERVICES = {
    "grpcio-health-checking", "onnxruntime", "prometheus-client", "pydantic-settings", "qdrant-client",
    "qdrant-edge-py", "starlette", "structlog", "tokenizers", "uvicorn",
}  # fmt: skip


@in_a_soak  # pip takes 20 s of CPU time
def test_the_bare_client_brings_no_library_of_a_service_and_works(wheel: Path, tmp_path: Path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    locked = ["--require-hashes", "--requirement", ROOT / "requirements" / "client.txt"]
    for words in (locked, ["--no-deps", wheel]):
        subprocess.run([*pip, "install", "--quiet", *words], check=True, cwd=tmp_path)
    subprocess.run([*pip, "check"], check=True, cwd=tmp_path)

    listed = subprocess.run([*pip, "list", "--format=json"], check=True, capture_output=True, cwd=tmp_path)
    assert not SERVICES & {package["name"].lower().replace("_", "-") for package in json.loads(listed.stdout)}

    names = "from clipsearch import *; from clipsearch.ingest import *; import clipsearch.reindex.backfill"
    subprocess.run([python, "-c", names], check=True, cwd=tmp_path)
    command = [tmp_path / "venv" / "bin" / "clipsearch"]
    for words in (["--help"], ["serve", "--help"], ["plan", "--help"]):
        subprocess.run([*command, *words], check=True, capture_output=True, cwd=tmp_path)
    # Tokens too, so whatever runs secrets.sh installs more: deploy/kind.sh in CI does.
    for words in (["serve", "search"], ["token", "create", "--name=shop", "--scope=search"]):
        refused = subprocess.run(
            [*command, *words], check=False, capture_output=True, text=True, cwd=tmp_path
        )
        assert refused.returncode == 1, words
        assert "pip install 'clipsearch[" in refused.stderr
    workflow = (ROOT / ".github" / "workflows" / "ci.yaml").read_text()
    assert re.search(r"pip install .*\.\[serving\]'.*\n +- run: deploy/kind\.sh\n", workflow)
