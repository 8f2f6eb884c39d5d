"""A service's CPU time is that of its whole family."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import OURS, Program, _cpu_seconds, _family

BURN = "import time\nwhile time.process_time() < 0.3: pass\n"


def test_the_cpu_time_of_children_counts_while_they_run_and_after() -> None:
    parent = (
        "import subprocess, sys\n"
        f"subprocess.run([sys.executable, '-c', {BURN!r}])\n"  # ends at once
        f"child = subprocess.Popen([sys.executable, '-c', {BURN!r} + 'print(1, flush=True)\\ninput()'])\n"
        "child.wait()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # the running child has burnt its share
        pids = list(_family(process.pid))
        seconds = sum(map(_cpu_seconds, pids))
        process.communicate(b"\n", timeout=20)
    assert len(pids) == 2
    assert seconds > 0.5  # of 0.6 and what starting takes; each of four counts is cut to ticks of 10 ms


def test_no_program_sees_what_the_caller_has_set_for_services_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("SEARCH_STORE", "ENCODER_MODEL", "CLIPSEARCH_TOKEN", "QDRANT_URL"):
        monkeypatch.setenv(name, "the caller's")
    program = "import json, os, sys; print(json.dumps(dict(os.environ)))"
    process = Program("toy", tmp_path, [sys.executable, "-c", program], {"SEARCH_LOG_LEVEL": "debug"})
    assert process.launch().wait(30) == 0
    (seen,) = process.logged()
    assert {name for name in seen if name.startswith(OURS)} == {"SEARCH_LOG_LEVEL"}
    assert seen["PATH"] == os.environ["PATH"]
