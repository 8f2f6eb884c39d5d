"""The demo, as `make demo` runs it."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_the_demo_finds_the_right_pictures_and_stops_what_it_started(starter_bundle, tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "clipsearch.cli",
            "demo",
            "--model",
            str(starter_bundle),
            "--out",
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    firsts = dict(re.findall(r'^"?([^"\n]+?)"? *\n(?:.*\n){3} +1 +[\d.]+ +(\S+)', done.stdout, re.MULTILINE))
    assert firsts["a cat"] == "chelsea.png"
    assert firsts["a cup of coffee"] == "coffee.png"
    assert firsts["a motorcycle"].startswith("motorcycle")
    assert firsts["a flower"] == "flower.jpg"
    assert firsts["a rocket"] == "rocket.jpg"
    assert firsts["pictures like motorcycle_left.png"] == "motorcycle_right.png"
    page = (tmp_path / "index.html").read_text()
    assert page.count("data:image/jpeg;base64,") >= 24
    assert not re.search(r'(?:src|href)="https?:', page)
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert (
        str(starter_bundle) not in running.replace(" ".join(sys.argv), "") or "serve encoder" not in running
    )
