"""How many CPUs this process may really use: affinity and cgroup quota, not what the host has."""

from __future__ import annotations

import os
from pathlib import Path

from encoder_service.cgroup import limits


def available_cpus(root: Path = Path("/")) -> int:
    """The smaller of the CPU affinity and the cgroup's quota, at least 1.

    A quota of 1.5 CPUs gives 1: two threads that wait for one another would be throttled together.
    `root` is where /proc and /sys are found.
    """
    granted = float(_affinity())
    for limit in limits(root, "cpu", "cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us"):
        fields = limit.split()
        if len(fields) == 2 and fields[0].isdigit():  # else "max", or -1
            granted = min(granted, int(fields[0]) / int(fields[1]))
    return max(1, int(granted))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS and Windows have no affinity to ask for
