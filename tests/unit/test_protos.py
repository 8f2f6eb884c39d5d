"""The generated API is what protos/ says, and the protos keep to the rules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def generated(folder: Path) -> dict[str, bytes]:
    return {
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


def test_protos_are_clean_under_buf():
    done = subprocess.run([ROOT / "protos" / "lint.sh", sys.executable], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_api_is_an_ordinary_package():
    from clipsearch.encoder.v1 import encoder_pb2, encoder_pb2_grpc
    from clipsearch.search.v1 import collection_pb2_grpc, search_pb2

    assert encoder_pb2.DESCRIPTOR.services_by_name["EncoderService"].full_name == (
        "clipsearch.encoder.v1.EncoderService"
    )
    assert search_pb2.SearchRequest().limit == 0
    assert encoder_pb2_grpc.EncoderServiceStub
    assert collection_pb2_grpc.CollectionServiceStub
