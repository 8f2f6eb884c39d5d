"""A run that fails ends at once, whatever its workers are at."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest
from rich.console import Console

from tests.bench.rig import Rig


def fail_at_work() -> None:
    with Rig(Path(), Console(quiet=True)) as rig:
        rig.run("one", os.getpid)
        rig.submit("one", time.sleep, 3600)
        raise RuntimeError("the run failed")


def test_a_failed_run_does_not_wait_for_its_workers() -> None:
    with pytest.raises(RuntimeError, match="the run failed"):
        fail_at_work()
    assert not multiprocessing.active_children()
