"""A service's CPU time is that of its whole family."""

from __future__ import annotations

import subprocess
import sys

from tests.processes import _cpu_seconds, _family

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
    assert 0.6 <= seconds < 5


def test_a_process_that_has_gone_has_no_children_and_no_time() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    assert list(_family(process.pid)) == [process.pid]
    assert _cpu_seconds(process.pid) == 0
