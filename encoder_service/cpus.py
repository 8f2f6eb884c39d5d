"""How many CPUs this process may really use: affinity and cgroup quota, not what the host has."""

from __future__ import annotations

import os
from pathlib import Path

from encoder_service.cgroup import folders, group, read


def available_cpus(root: Path = Path("/")) -> int:
    """The smaller of the CPU affinity and the cgroup's quota, at least 1.

    A quota of 1.5 CPUs gives 1: two threads that wait for one another would be throttled together.
    `root` is where /proc and /sys are found.
    """
    granted = float(_affinity())
    for quota in (_quota_v2(root), _quota_v1(root)):
        if quota is not None:
            granted = min(granted, quota)
    return max(1, int(granted))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS and Windows have no affinity to ask for


def _quota_v2(root: Path) -> float | None:
    """The tightest cpu.max from our group up to the root: a parent's quota binds its children."""
    quotas = []
    for folder in folders(root / "sys/fs/cgroup", group(root, "")):
        fields = read(folder / "cpu.max").split()
        if len(fields) == 2 and fields[0] != "max":
            quotas.append(int(fields[0]) / int(fields[1]))
    return min(quotas, default=None)


def _quota_v1(root: Path) -> float | None:
    quotas = []
    for folder in folders(root / "sys/fs/cgroup/cpu", group(root, "cpu")):
        quota, period = read(folder / "cpu.cfs_quota_us"), read(folder / "cpu.cfs_period_us")
        if quota and period and int(quota) > 0:
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)
