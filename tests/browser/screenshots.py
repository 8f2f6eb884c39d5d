"""The screenshots in docs/, of `clipsearch demo --web` in Chromium. `make screenshots` runs this."""

from __future__ import annotations

import io
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, ViewportSize, sync_playwright

from tests.browser.chromium import chromium_path
from tests.processes import cli, environment

OUT = Path("docs/pictures")
SIZE = ViewportSize(width=1200, height=760)
SCALE = 1.5  # sharp on a dense screen, and still small
MOST_BYTES = 200_000
_START_S = 180.0


def main() -> None:
    """Writes both. Raises SystemExit if there is no Chromium, or one is too large."""
    path = chromium_path()
    if path is None:
        raise SystemExit("no Chromium is installed")
    OUT.mkdir(parents=True, exist_ok=True)
    with demo_page() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE, device_scale_factor=SCALE)
        page.goto(f"{url}?collection=words-and-photographs&q=a+vehicle&q=outer+space&w=-0.5&target=image")
        _wait_for_images(page)
        _save(page, "search.webp")
        page.goto(f"{url}map/0/")
        page.locator(".scatterlayer .point").first.wait_for()
        page.get_by_role("button", name="a fast vehicle").click()
        page.mouse.move(0, 0)
        page.evaluate("scrollTo(0, 0)")
        page.wait_for_timeout(500)  # Plotly draws the lines to the nearest
        _save(page, "map.webp")
        browser.close()


@contextmanager
def demo_page() -> Iterator[str]:
    """Runs the demo until its search page is there; yields the page's address."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        command = cli("demo", "--web", "--out", str(Path(folder) / "demo"))
        settings = environment(BROWSER="true", XDG_CACHE_HOME=folder, COLUMNS="200")
        with log.open("wb") as output:
            process = subprocess.Popen(command, env=settings, stdout=output, stderr=output)
        try:
            yield _address(process, log)
        finally:
            process.terminate()
            process.wait(timeout=60)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + _START_S
    while True:
        text = log.read_text(errors="replace")
        found = re.search(r"the page: (http://\S+/)", text)
        if found:
            return found[1]
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"the demo serves no page:\n{text}")
        time.sleep(0.1)


def _wait_for_images(page: Page) -> None:
    page.locator("[data-id] img").first.wait_for()
    page.locator(".choices[aria-busy]").first.wait_for(state="detached")
    page.wait_for_load_state("networkidle")


def _save(page: Page, name: str) -> None:
    shot = io.BytesIO()
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(shot, "WEBP", quality=82, method=6)
    if len(shot.getvalue()) > MOST_BYTES:
        raise SystemExit(f"{name} has {len(shot.getvalue()):,} bytes, more than {MOST_BYTES:,}")
    (OUT / name).write_bytes(shot.getvalue())
    print(f"{OUT / name}: {len(shot.getvalue()):,} bytes")


if __name__ == "__main__":
    main()
