"""The Go and TypeScript clients of docs/clients/, and tools that ask by reflection, where Go and Node are."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clipsearch import Client, Point
from tests.documents import ROOT
from tests.soak.share import in_a_soak

pytestmark = [in_a_soak, pytest.mark.slow, pytest.mark.timeout(900)]

USUAL = "127.0.0.1:50052"
GRPCURL, GHZ = "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4", "github.com/bojand/ghz/cmd/ghz@v0.93.0"
SEARCH = "clipsearch.search.v1.SearchService"
BODY = '{"collection": "shop", "query": [{"text": "something to drink from"}], "limit": 3}'

needs_go = pytest.mark.skipif(shutil.which("go") is None, reason="needs Go")
needs_node = pytest.mark.skipif(shutil.which("npm") is None, reason="needs Node")


@pytest.fixture(scope="module")
def shop(search) -> str:
    """The address of a search service with a collection."""
    with Client(search.address) as client:
        client.create_collection("shop")
        client.upsert("shop", [Point("mug", text="a red coffee mug"), Point("bike", text="a motorcycle")])
    return search.address


def run(*command: str | Path, **more: str) -> str:
    environment = {**os.environ, "PROTOC": f"{sys.executable} -m grpc_tools.protoc", **more}
    environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def example(name: str, folder: Path, address: str) -> Path:
    """The example with the address of a service here, beside the protos."""
    copied = folder / "docs" / "clients" / name
    shutil.copytree(ROOT / "docs" / "clients" / name, copied)
    (folder / "protos").symlink_to(ROOT / "protos")
    for source in copied.glob("*.[gt][os]"):
        source.write_text(source.read_text().replace(USUAL, address))
    return copied / "build.sh"


@needs_go
def test_the_go_client_searches(shop, tmp_path):
    run(example("go", tmp_path, shop), tmp_path / "made")
    assert "mug" in run(tmp_path / "made" / "client").splitlines()[0]


@needs_node
def test_the_typescript_client_searches(shop, tmp_path):
    run(example("typescript", tmp_path, shop), tmp_path / "made")
    assert "mug" in run("node", tmp_path / "made" / "out" / "index.js").splitlines()[0]


@needs_go
def test_grpcurl_and_ghz_need_reflection_alone(shop, tmp_path):
    for tool in (GRPCURL, GHZ):
        run("go", "install", tool, GOBIN=str(tmp_path))
    assert "rpc Search" in run(tmp_path / "grpcurl", "-plaintext", shop, "describe", f"{SEARCH}.Search")
    assert '"mug"' in run(tmp_path / "grpcurl", "-plaintext", "-d", BODY, shop, f"{SEARCH}/Search")
    said = run(tmp_path / "ghz", "--insecure", "--call", f"{SEARCH}.Search", "-d", BODY, "-n", "20", shop)
    assert "[OK]   20 responses" in said
