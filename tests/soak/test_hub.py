"""`make model` and `make serve` with a model from a hub: a broken download, no network, a search."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clipsearch import Client, Point
from tests import checkpoints
from tests.bundles import ROOT
from tests.health import SERVING, Health
from tests.hub import COMMIT, Hub
from tests.processes import SMALL_ENCODER, environment
from tests.soak.share import in_a_soak
from tests.waiting import HANGS_S, wait_until

MODEL = "openai/clip-tiny"


@in_a_soak  # two exports and two services take a minute of CPU time
def test_make_model_resumes_a_broken_download_works_without_the_hub_and_is_served(
    photos: list[Path], tmp_path: Path
):
    from encoder_service.export.dual_encoder import weights_sha256

    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    hub = Hub(tmp_path / "hub")
    hashed = weights_sha256(checkpoints.old_clip(hub.root / MODEL).state_dict())
    weights = f"{MODEL}/pytorch_model.bin"
    size = (hub.root / weights).stat().st_size
    hub.cut[weights] = size - 1000
    with hub.serving() as address:
        first = make(tmp_path, address, "model")
    assert MODEL in first
    starts = [start for name, start in hub.fetched if name == weights]
    assert starts[0] == 0
    assert 0 < starts[1] < size, "the second transfer goes on where the first broke off"
    assert hub.others == []
    bundle = tmp_path / "build" / "models" / MODEL.replace("/", "--")
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["source"] == {"id": MODEL, "revision": COMMIT, "weights_sha256": hashed, "notes": ""}
    shutil.rmtree(bundle)
    make(tmp_path, address, "model")
    again = json.loads((bundle / "manifest.json").read_text())
    assert again["fingerprint"] == manifest["fingerprint"]

    with serving(tmp_path, address) as search, Client(search) as client:
        client.create_collection("photos")
        client.upsert("photos", [Point(photo.stem, image=photo) for photo in photos[:3]])
        assert client.search("photos", image=photos[1])[0].id == photos[1].stem
        assert len(client.search("photos", "a cat")) == 3


def variables(folder: Path, address: str) -> dict[str, str]:
    """What a caller has who knows this hub only, and a cache in `folder`."""
    return environment(HF_ENDPOINT=address, HF_HOME=str(folder / "home"), PYTHONPATH=str(ROOT))


def make(folder: Path, address: str, target: str) -> str:
    """Runs the target of this checkout's Makefile in another folder, with the interpreter of the test."""
    done = subprocess.run(
        command(target),
        cwd=folder,
        env=variables(folder, address),
        capture_output=True,
        text=True,
        timeout=5 * HANGS_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def command(target: str) -> list[str]:
    made = [word for mark in (".ready-run", ".ready-full") for word in ("--old-file", f".venv/{mark}")]
    return ["make", "--file", str(ROOT / "Makefile"), *made, target, f"MODEL={MODEL}"]


@contextmanager
def serving(folder: Path, address: str) -> Iterator[str]:
    """`make serve` while the block runs; yields the address of its search service."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    port_file = folder / "search.port"
    settings = {
        **variables(folder, address),
        **SMALL_ENCODER,
        "ENCODER_PORT": str(port),
        "SEARCH_ENCODER": f"127.0.0.1:{port}",
        "SEARCH_PORT": "0",
        "SEARCH_PORT_FILE": str(port_file),
        "SEARCH_DATA_DIR": str(folder / "data"),
    }
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            command("serve"), cwd=folder, env=settings, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_until(lambda: process.poll() is not None or (port_file.exists() and port_file.read_text() != ""))
        assert process.poll() is None, (folder / "serve.log").read_text()
        search = port_file.read_text().strip()
        health = Health(search)
        health.becomes(SERVING)  # search's port is there before its encoder is
        health.close()
        yield search
    finally:
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
        process.wait(HANGS_S)
