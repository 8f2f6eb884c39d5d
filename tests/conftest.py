"""Fixtures that several test packages share."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clipsearch.samples import write_samples
from tests.health import Health
from tests.processes import OURS, ServiceProcess, Start

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


@pytest.fixture(scope="session", autouse=True)
def _no_settings_of_the_caller() -> Iterator[None]:
    """What the caller's shell says of services and servers is meant for those, not for the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(OURS)]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Makes service processes; whatever still runs at the end of the module is ended."""
    folder = tmp_path_factory.mktemp("services")
    made: list[ServiceProcess] = []

    def make(kind: str, **settings: str) -> ServiceProcess:
        made.append(ServiceProcess(kind, folder, **settings))
        return made[-1]

    yield make
    for process in made:
        process.kill()


@pytest.fixture(scope="module")
def encoder(service: Start, starter_bundle: Path) -> ServiceProcess:
    """A running encoder with the starter bundle."""
    return service("encoder", ENCODER_MODEL=str(starter_bundle)).start()


@pytest.fixture(scope="module")
def search(
    service: Start, encoder: ServiceProcess, tmp_path_factory: pytest.TempPathFactory
) -> ServiceProcess:
    """A running search service on Qdrant Edge, in front of the encoder."""
    data = tmp_path_factory.mktemp("data")
    return service("search", SEARCH_ENCODER=encoder.address, SEARCH_DATA_DIR=str(data)).start()


@pytest.fixture
def health() -> Iterator[Callable[[str], Health]]:
    """Health of an address."""
    made: list[Health] = []

    def make(address: str) -> Health:
        made.append(Health(address))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The sample photographs, as files."""
    return write_samples(tmp_path_factory.mktemp("photos"))
