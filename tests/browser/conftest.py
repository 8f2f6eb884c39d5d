"""One set of real services and one `clipsearch web` a session, driven in Debian's Chromium."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from clipsearch import Client
from clipsearch.cli.demo import draw_samples
from clipsearch.client.sync import EncoderClient
from tests.browser.chromium import NAMES, chromium_path
from tests.browser.corpus import fill
from tests.browser.pages import PATIENCE_MS, OpenPage, pages
from tests.ports import kept_port
from tests.processes import SMALL_ENCODER, ServiceProcess, WebProcess


@dataclass(frozen=True)
class Stage:
    """What runs: the services, the page's address, and the folder of the sample photographs."""

    encoder: ServiceProcess
    search: ServiceProcess
    url: str
    photos: Path


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the system's Chromium; without one the tests fail where CI=true and skip elsewhere."""
    path = chromium_path()
    if path is None:
        why = f"needs a browser: none of {', '.join(NAMES)} is installed (Debian: apt-get install {NAMES[0]})"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    return path


@pytest.fixture(scope="package")
def browser(chromium: str) -> Iterator[Browser]:
    """One for all tests here. Not the session's: while Playwright runs, its event loop is this thread's, and
    tests of other packages that start one of their own would fail.
    """
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        # A container's root has no sandbox of the kernel's to offer to Chromium.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def stage(
    chromium: str, starter_bundle: Path, photos: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("browser")
    (folder / "names").mkdir()
    data = str(folder / "data")
    encoder = ServiceProcess("encoder", folder, ENCODER_MODEL=str(starter_bundle), **SMALL_ENCODER)
    with ExitStack() as ending:
        encoder.start(ending.enter_context(kept_port()))  # a test stops it
        ending.callback(encoder.stop)
        told = {"SEARCH_ENCODER": encoder.address, "SEARCH_DATA_DIR": data}
        search = ending.enter_context(ServiceProcess("search", folder, **told))
        with Client(search.address) as client, EncoderClient(encoder.address) as encoding:
            fill(client, photos, folder / "names")
            draw_samples(client, encoding, photos[0].parent, folder / "map")
        roots = ["--root", str(photos[0].parent), "--root", str(folder / "names")]
        addresses = ["--server", search.address, "--encoder", encoder.address]
        with WebProcess(folder, *addresses, *roots, "--map", str(folder / "map")) as page:
            yield Stage(encoder, search, f"http://{page.address}", photos[0].parent)


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    with pages(browser) as new:
        yield new


@pytest.fixture
def visit(open_page: OpenPage, stage: Stage) -> OpenPage:
    """Opens the stage's page with these parts of the address, and waits until it is drawn."""

    def new(address: str = "/", **how: Any) -> Page:
        page = open_page(stage.url + address, **how)
        page.locator(".state").wait_for()
        return page

    return new
