"""Fixtures that several test packages share."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

from clipsearch.downloads.samples import write_samples
from encoder_service.machine import available_cpus
from tests.bundles import shared_bundle
from tests.health import Health
from tests.processes import OURS, SMALL_ENCODER, ServiceProcess, Start

# They share a browser with its services, and the seconds that it takes to load torch; all are slow.
TOGETHER = {
    "tests/browser/": "browser",
    "tests/unit/encoder_service/export/": "torch",
}

# Its library tells on stderr of each server that ends in the process of its client, in the middle of calls.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

# A busy machine must not fail a property.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Of `-n auto`: twice the CPUs granted, because tests of processes wait for most of their time."""
    return min(2 * available_cpus(), 16)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What collecting makes, a million objects, stays: looking for garbage in it is a fifth of its time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(tuple(TOGETHER)):
            item.add_marker(pytest.mark.slow)


class _ByFile(LoadFileScheduling):  # type: ignore[misc]  # xdist is not typed
    """A file's tests share processes and stay together, and so do those in TOGETHER."""

    def _split_scope(self, nodeid: str) -> str:
        name = next((name for path, name in TOGETHER.items() if nodeid.startswith(path)), "")
        return name or str(super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Who gets which tests."""
    return _ByFile(config, log)


@pytest.fixture(scope="session")
def starter_bundle() -> Path:
    """The starter bundle."""
    from encoder_service.export.starter.build import build_starter

    return shared_bundle("starter", build_starter)


@pytest.fixture(scope="session", autouse=True)
def _no_settings_of_the_caller() -> Iterator[None]:
    """What the caller's shell says of services and servers is meant for those, not for the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(OURS)]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Makes service processes (encoders that start fast), and ends them when the module ends."""
    folder = tmp_path_factory.mktemp("services")
    made: list[ServiceProcess] = []

    def make(kind: str, **settings: str) -> ServiceProcess:
        made.append(ServiceProcess(kind, folder, **(SMALL_ENCODER if kind == "encoder" else {}) | settings))
        return made[-1]

    yield make
    for process in made:
        process.kill()


@pytest.fixture(scope="session")
def encoder(starter_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A running encoder with the starter bundle; who ends it has one of their own."""
    settings = {"ENCODER_MODEL": str(starter_bundle), **SMALL_ENCODER}
    with ServiceProcess("encoder", tmp_path_factory.mktemp("encoder"), **settings) as process:
        yield process


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
