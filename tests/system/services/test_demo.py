"""The demo, as `make web` runs it: what `make demo` does, and then the search page."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.processes import SMALL_ENCODER
from tests.waiting import HANGS_S, wait_until


@pytest.mark.slow
def test_the_demo_finds_the_right_pictures_serves_the_page_and_stops_what_it_started(
    starter_bundle, tmp_path
):
    command = [sys.executable, "-m", "clipsearch.cli", "demo", "--web"]
    cache = str(tmp_path / "cache")
    demo = subprocess.Popen(
        [*command, "--model", str(starter_bundle), "--out", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # No browser here: opening the page must not be what fails.
        env={
            **os.environ,
            **SMALL_ENCODER,
            "PYTHONUNBUFFERED": "1",
            "BROWSER": "true",
            "XDG_CACHE_HOME": cache,
        },
    )
    assert demo.stdout is not None
    printed = ""
    try:
        while (served := re.search(r"^the page: http://(\S+)/", printed, re.MULTILINE)) is None:
            read = demo.stdout.readline()
            assert read, printed
            printed += read
        _check_page(served[1])
        assert len(_of_the_demo(cache)) >= 3  # itself, the encoder and the search service
        demo.send_signal(signal.SIGINT)
        printed += demo.stdout.read()
        assert demo.wait(HANGS_S) == 0, printed
    finally:
        demo.kill()
    firsts = dict(re.findall(r'^"?([^"\n]+?)"? *\n(?:.*\n){3} +1 +[\d.]+ +(\S+)', printed, re.MULTILINE))
    assert firsts["a cat"] == "chelsea.png"
    assert firsts["a cup of coffee"] == "coffee.png"
    assert firsts["a motorcycle"].startswith("motorcycle")
    assert firsts["a flower"] == "flower.jpg"
    assert firsts["a rocket"] == "rocket.jpg"
    assert firsts["images like motorcycle_left.png"] == "motorcycle_right.png"
    assert "clipsearch web --root ~/Pictures --open" in printed
    assert "make web" in printed
    page = (tmp_path / "index.html").read_text()
    assert page.count("data:image/webp;base64,") >= 24
    assert not re.search(r'(?:src|href)="https?:', page)
    wait_until(lambda: not _of_the_demo(cache))


def _of_the_demo(mark: str) -> list[str]:
    """The processes of this machine that have its environment, whoever their parents are."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # it has ended, or is somebody else's
            if mark.encode() in environ.read_bytes():
                found.append(environ.parent.name)
    return found


def _check_page(address: str) -> None:
    """The page has what the demo indexed, and its map."""
    browser = http.client.HTTPConnection(address, timeout=HANGS_S)
    browser.request("GET", "/api/state")
    state = json.loads(browser.getresponse().read())
    assert {one["name"] for one in state["sides"]["a"]["collections"]} == {"images", "words-and-photographs"}
    browser.request("GET", state["maps"][0]["url"])
    assert b"Map of words-and-photographs" in browser.getresponse().read()
    asked = json.dumps({"collection": "images", "terms": [{"text": "a cat"}]})
    browser.request("POST", "/api/search", asked, {"content-type": "application/json"})
    hit = json.loads(browser.getresponse().read())["hits"][0]
    assert hit["title"] == "chelsea.png"
    browser.request("GET", hit["thumb"])
    assert browser.getresponse().status == 200
    browser.close()
