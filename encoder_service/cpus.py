"""How many CPUs this process may really use: affinity and cgroup quota, not what the host has."""

from __future__ import annotations

import os
from pathlib import Path


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
    for folder in _folders(root / "sys/fs/cgroup", _group(root, "")):
        fields = _read(folder / "cpu.max").split()
        if len(fields) == 2 and fields[0] != "max":
            quotas.append(int(fields[0]) / int(fields[1]))
    return min(quotas, default=None)


def _quota_v1(root: Path) -> float | None:
    quotas = []
    for folder in _folders(root / "sys/fs/cgroup/cpu", _group(root, "cpu")):
        quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if quota and period and int(quota) > 0:
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def _group(root: Path, controller: str) -> str:
    """Our path in the hierarchy of `controller`; "" is version 2's only one."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return path
    return "/"


def _folders(mount: Path, group: str) -> list[Path]:
    """The group's folder and all above it. In a container the group's own path may not be mounted."""
    folder = mount / group.strip("/")
    return [folder, *(parent for parent in folder.parents if parent.is_relative_to(mount))]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
