"""What decoding takes is known before: measured on each kind in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
MIB = 2**20
# What the kernel counts for threads and pages half used.
MARGIN = 2 * MIB


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the kernel tells no peak")
def test_no_kind_of_image_takes_more_memory_than_its_header_says() -> None:
    # The C library returns at once what is freed, so that no kind lives off the one before.
    allocator = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.unit.encoder_service.inputs.peak"],
        cwd=ROOT,
        env=os.environ | allocator,
        capture_output=True,
        text=True,
        check=True,
    )
    measured = json.loads(done.stdout)
    assert len(measured) > 45
    over = {name: (said, real) for name, (said, real) in measured.items() if real > said + MARGIN}
    assert not over, "takes more than is said"
    loose = {name: (said, real) for name, (said, real) in measured.items() if said > 4 * real + 16 * MIB}
    assert not loose, "nothing cheap may be refused"
