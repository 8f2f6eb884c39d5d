"""The CPUs that are granted, read from folders made up like /proc and /sys."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from encoder_service.machine import available_cpus

OURS, FOLDER = "proc/self/cgroup", "sys/fs/cgroup"
VERSION_2 = {OURS: "0::/pods/one"}
VERSION_1 = {
    OURS: "4:memory:/x\n2:cpu,cpuacct:/docker/abc\n0::/",
    f"{FOLDER}/cpu/docker/abc/cpu.cfs_period_us": "100000",
}


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, 16),
        ({**VERSION_2, f"{FOLDER}/pods/one/cpu.max": "400000 100000"}, 4),
        ({**VERSION_2, f"{FOLDER}/pods/one/cpu.max": "150000 100000"}, 1),
        ({**VERSION_2, f"{FOLDER}/pods/one/cpu.max": "50000 100000"}, 1),
        ({**VERSION_2, f"{FOLDER}/pods/one/cpu.max": "max 100000"}, 16),
        # The tightest up the tree binds.
        (
            {
                **VERSION_2,
                f"{FOLDER}/pods/one/cpu.max": "max 100000",
                f"{FOLDER}/pods/cpu.max": "300000 100000",
            },
            3,
        ),
        # A container may mount its own group at the root.
        ({OURS: "0::/kubepods/pod1/abc", f"{FOLDER}/cpu.max": "200000 100000"}, 2),
        ({**VERSION_1, f"{FOLDER}/cpu/docker/abc/cpu.cfs_quota_us": "200000"}, 2),
        ({**VERSION_1, f"{FOLDER}/cpu/docker/abc/cpu.cfs_quota_us": "-1"}, 16),
        # The affinity binds where it is smaller.
        ({OURS: "0::/", f"{FOLDER}/cpu.max": "9900000 100000"}, 16),
    ],
)
def test_the_affinity_or_the_tightest_quota_of_our_groups_binds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cpus: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert available_cpus(tmp_path) == cpus
