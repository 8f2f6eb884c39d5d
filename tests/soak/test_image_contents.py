"""What an image would hold, installed into an empty environment, and both services served from it.

As in the images: the locked requirements, then the project's wheel; a user who may write to nothing but
the data directory; no home, no temporary folder. What only an engine could show is not shown here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from clipsearch import Client, Point
from tests.processes import Program
from tests.soak.share import in_a_soak
from tests.system.deploy.manifests import ROOT

NOBODY = 65532

pytestmark = [
    in_a_soak,  # pip takes half a minute of CPU time
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user without rights"),
    pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv of util-linux"),
]


@dataclass(frozen=True)
class Environment:
    """A virtual environment as the Dockerfile makes it."""

    folder: Path

    def install(self, *words: str | Path) -> None:
        pip = [sys.executable, "-m", "pip", "--python", self.folder / "bin" / "python", "install"]
        pip += ["--quiet", "--no-compile"]  # the images compile; here it would take longer than all else
        done = subprocess.run([*pip, *words], capture_output=True, text=True, check=False, cwd=ROOT)
        assert done.returncode == 0, done.stderr

    def install_locked(self, name: str) -> None:
        self.install("--require-hashes", "--requirement", f"requirements/{name}.txt")

    def has(self, module: str) -> bool:
        code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec('{module}') is None)"
        return subprocess.run([self.folder / "bin" / "python", "-c", code], check=False).returncode == 0


def made(folder: Path, image: str, wheel: Path) -> Environment:
    """What an image holds."""
    environment = Environment(folder)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    environment.install_locked(image)
    environment.install("--no-deps", wheel)
    return environment


@pytest.fixture(scope="module")
def world() -> Iterator[Path]:
    """A folder that everybody may enter, which pytest's own is not."""
    folder = Path(tempfile.mkdtemp(prefix="clipsearch-image-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def search_environment(world: Path, wheel: Path) -> Environment:
    return made(world / "search", "search", wheel)


@pytest.fixture(scope="module")
def encoder_environment(world: Path, wheel: Path) -> Environment:
    return made(world / "encoder", "encoder-cpu", wheel)


def serving(environment: Environment, service: str, folder: Path, **variables: str) -> Program:
    """`clipsearch serve SERVICE` as the image would run it."""
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    # Reading is left to nobody, because the interpreter may lie in root's home here; writing is not.
    become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"]
    become += ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
    become += ["--bounding-set=-all,+dac_read_search"]
    python = environment.folder / "bin" / "python"
    command = [*become, str(python), "-m", "clipsearch.cli", "serve", service]
    bare = {"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": "/nonexistent"}
    return Program(service, folder, command, variables, bare=bare, cwd=Path("/"))


def written_elsewhere() -> set[Path]:
    """Files of nobody in the folders where everybody may write."""
    found = set()
    for folder in ("/tmp", "/var/tmp", "/dev/shm"):
        for path in Path(folder).iterdir():
            try:
                if path.lstat().st_uid == NOBODY:
                    found.add(path)
            except FileNotFoundError:
                continue
    return found


def test_the_images_hold_no_library_of_what_they_do_not_run(search_environment, encoder_environment):
    others = {
        search_environment: ("onnxruntime", "tokenizers", "huggingface_hub", "hf_xet"),
        encoder_environment: ("qdrant_client", "qdrant_edge"),
    }
    for environment, modules in others.items():
        assert environment.has("opentelemetry")
        for module in (*modules, "torch", "transformers", "onnx", "pytest", "mypy", "locust", "pip"):
            assert not environment.has(module), module


def test_both_services_serve_as_nobody_and_write_nothing_but_data(
    world, search_environment, encoder_environment, starter_bundle
):
    models = world / "models"
    shutil.copytree(starter_bundle, models)
    before = written_elsewhere()
    with serving(encoder_environment, "encoder", world / "e", ENCODER_MODEL=str(models)) as encoder:
        data = {"SEARCH_ENCODER": encoder.address, "SEARCH_DATA_DIR": str(world / "s" / "data")}
        with serving(search_environment, "search", world / "s", **data) as search:
            owner = Path(f"/proc/{search.pid}").stat().st_uid
            with Client(search.address) as client:
                client.create_collection("shop")
                client.upsert(
                    "shop", [Point("mug", text="a red coffee mug"), Point("bike", text="a motorcycle")]
                )
                hits = client.search("shop", "something to drink from", limit=1)
            assert [hit.id for hit in hits] == ["mug"]
            assert owner == NOBODY
            assert not written_elsewhere() - before
            assert search.stop() == 0, search.text()
        assert encoder.stop() == 0, encoder.text()
    logs = [{process.log.name, process.port_file.name} for process in (encoder, search)]
    assert {path.name for path in (world / "e").iterdir()} == logs[0]
    assert {path.name for path in (world / "s").iterdir()} == {*logs[1], "data"}
