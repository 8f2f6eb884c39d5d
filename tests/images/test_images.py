"""The images, built and run: an index and a search through them, as a user who may write to the data alone.

`make images-check`. All but the GPU's and the load harness's.
"""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from clipsearch.downloads.samples import write_samples
from tests.images.builds import ROOT, Builder, Image
from tests.images.container import Container
from tests.processes import SMALL_ENCODER, clipsearch
from tests.waiting import wait_until

NOBODY = 65532
TARGETS = ("model", "encoder-cpu", "search", "gateway")
SERVING = r'"address": "([^"]+)", "event": "(?:encoder|search) is serving"'
METRICS = r'"address": "127\.0\.0\.1:(\d+)", "event": "metrics are served"'
# As in the manifests, without the wait before the draining: delay, calls in progress, and 10 s to spare.
GRACE_SECONDS = 45

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="session")
def images() -> Iterator[dict[str, Image]]:
    """Target -> its image. Seconds and megabytes of each go to build/images.json."""
    begun = time.perf_counter()
    told: dict[str, dict[str, float]] = {}

    def tell(step: str, **figures: float) -> None:
        nonlocal begun
        told[step] = {"seconds": round(time.perf_counter() - begun, 1), **figures}
        print(step, told[step])
        begun = time.perf_counter()

    builder = Builder(ROOT / "build" / "images")
    builder.remove()  # what a run left that was killed
    builder.bases()
    tell("bases")
    built = {}
    try:
        builder.wheel()
        tell("wheel")
        for target in TARGETS:
            built[target] = builder.build(target)
            megabytes, added = built[target].megabytes()
            tell(target, megabytes=megabytes, added_megabytes=added)
        (ROOT / "build" / "images.json").write_text(json.dumps(told, indent=2) + "\n")
        yield built
    finally:
        builder.remove()


@dataclass
class System:
    """What runs, and where it serves; `photos` are those to index."""

    encoder: Container
    search: Container
    gateway: Container
    addresses: dict[str, str]
    data: Path
    photos: Path


def owned(folder: Path) -> Path:
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    return folder


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="session")
def models(images: dict[str, Image], world: Path) -> Path:
    """The bundle, as the image `model` laid it out."""
    folder = owned(world / "models")
    mounts = {"/models": folder}
    with Container(images["model"], world / "model.log", mounts=mounts, writable=["/models"]) as model:
        assert model.wait(60) == 0, model.text()
    return folder


def encoder(images: dict[str, Image], models: Path, log: Path) -> Container:
    told = {"ENCODER_HOST": "127.0.0.1", "ENCODER_PORT": "0", "ENCODER_METRICS_PORT": "0"}
    return Container(images["encoder-cpu"], log, mounts={"/models": models}, **SMALL_ENCODER, **told)


def search(images: dict[str, Image], data: Path, log: Path, encoder: str) -> Container:
    place = "/var/lib/clipsearch"
    told = {"SEARCH_HOST": "127.0.0.1", "SEARCH_PORT": "0", "SEARCH_METRICS_PORT": "0"}
    image = images["search"]
    return Container(image, log, mounts={place: data}, writable=[place], **told, SEARCH_ENCODER=encoder)


def gateway(images: dict[str, Image], tmp: Path, log: Path, encoder: str, server: str) -> Container:
    words = ["gateway", "--port=0", "--metrics-port=0", f"--encoder={encoder}", f"--server={server}"]
    return Container(images["gateway"], log, *words, mounts={"/tmp": tmp}, writable=["/tmp"])


@pytest.fixture(scope="session")
def system(images: dict[str, Image], models: Path, world: Path) -> Iterator[System]:
    data, photos = owned(world / "data"), world / "photos"
    write_samples(photos)
    with ExitStack() as stack:
        first = stack.enter_context(encoder(images, models, world / "encoder.log"))
        addresses = {"encoder": first.serving(SERVING)}
        second = stack.enter_context(search(images, data, world / "search.log", addresses["encoder"]))
        addresses["search"] = second.serving(SERVING)
        third = stack.enter_context(
            gateway(images, owned(world / "tmp"), world / "gateway.log", *addresses.values())
        )
        addresses["gateway"] = third.serving(r"the gateway: http://([\d.:]+)/")
        yield System(first, second, third, addresses, data, photos)


def found(address: str) -> str:
    """What a search for a cat finds first."""
    done = clipsearch("search", "a cat", "--limit", "1", "--json", CLIPSEARCH_SERVER=address)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_model_image_copies_its_bundle_and_nothing_else(images, models):
    bundle = images["model"].root / "bundle"
    copied = {path.relative_to(models): path.read_bytes() for path in models.rglob("*") if path.is_file()}
    packed = {path.relative_to(bundle): path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    assert copied == packed
    assert Path("manifest.json") in copied


@pytest.mark.parametrize("target", ["encoder-cpu", "search"])
def test_by_itself_a_service_refuses_to_listen_to_other_machines(images, target, world):
    with Container(images[target], world / f"refused-{target}.log") as container:
        assert container.wait(60) == 1
    assert "INSECURE" in container.text()


def test_an_index_and_a_search_through_them(system):
    server = {"CLIPSEARCH_SERVER": system.addresses["search"]}
    indexed = clipsearch("index", str(system.photos), **server)
    assert indexed.returncode == 0, indexed.stderr
    assert "chelsea.png" in found(system.addresses["search"])


def test_the_gateway_finds_the_same(system):
    request = urllib.request.Request(
        f"http://{system.addresses['gateway']}/v1/collections/images:search",
        json.dumps({"query": [{"text": "a cat"}], "limit": 1}).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert "chelsea.png" in answer.read().decode()


@pytest.mark.parametrize("name", ["encoder", "search", "gateway"])
def test_their_health_checks_find_them_well(system, name):
    container = getattr(system, name)
    ports = {"8000": system.addresses["gateway"].rpartition(":")[2]}
    if name != "gateway":
        ports["9100"] = container.serving(METRICS)
    wait_until(lambda: container.healthy(ports))


@pytest.mark.parametrize("name", ["encoder", "search", "gateway"])
def test_they_are_nobody_and_write_to_the_data_alone(system, name):
    container = getattr(system, name)
    status = container.status()
    assert set(status["Uid"].split()) == set(status["Gid"].split()) == {str(NOBODY)}
    assert (status["CapEff"], status["CapPrm"], status["NoNewPrivs"]) == ("0" * 16, "0" * 16, "1")
    may = {"encoder": [], "search": ["/var/lib/clipsearch"], "gateway": ["/tmp"]}[name]
    for place in (
        "/",
        "/dev",
        "/home",
        "/models",
        "/opt/clipsearch",
        "/tmp",
        "/var/lib/clipsearch",
        "/var/tmp",
    ):
        written = container.execute("sh", "-c", f"test ! -d {place} || touch {place}/written")
        there = container.execute("test", "-d", place).returncode == 0
        assert (written.returncode == 0) == (place in may or not there), (place, written.stderr)


def test_sigterm_ends_each_within_its_grace_and_what_was_indexed_stays(system, images, world):
    for name in ("gateway", "search"):
        container = getattr(system, name)
        assert container.stop(GRACE_SECONDS) == 0, container.text()
    again = search(images, system.data, world / "again.log", system.addresses["encoder"])
    with again:
        assert "chelsea.png" in found(again.serving(SERVING))
        assert again.stop(GRACE_SECONDS) == 0, again.text()
    assert system.encoder.stop(GRACE_SECONDS) == 0, system.encoder.text()
