"""What this process may use: CPUs and memory, by its control groups or else by what the machine has."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

MIB = 1024 * 1024
# Without a limit of its own the process shares the machine: this part of its memory, and no more than
# this much, is taken for granted.
_SHARE, _MOST = 4, 8 * 1024 * MIB
# What a machine is taken to have that does not say it.
_UNKNOWN = 4 * 1024 * MIB
# Enough for photographs, however tight the limit is.
_LEAST = 64 * MIB

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


def decoding_memory() -> int:
    """Bytes that decoding may take by default: half of what is left once the model is in memory.

    The other half is for requests that arrive or wait, answers, and what the allocator keeps.
    """
    return max(_LEAST, (memory_limit() - memory_used()) // 2)


def memory_limit(root: Path = Path("/")) -> int:
    """Bytes: the tightest limit of a cgroup of ours, or a share of the machine's memory.

    `root` is where /proc and /sys are found.
    """
    machine = _kib(root / "proc/meminfo", "MemTotal:") or _UNKNOWN
    ours = [
        int(limit)
        for limit in limits(root, "memory", "memory.max", "memory.limit_in_bytes")
        if limit.isdigit() and int(limit) <= machine
    ]
    return min(ours, default=min(machine // _SHARE, _MOST))


def memory_used(root: Path = Path("/")) -> int:
    """Bytes of this process that are in memory now; 0 where /proc does not say."""
    return _kib(root / "proc/self/status", "VmRSS:")


def _kib(path: Path, name: str) -> int:
    """The line of this name in a file of /proc, in bytes; 0 where there is none."""
    for line in read(path).splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return 0


def give_memory_back() -> None:
    """Has the C library return what is freed to the system; nothing happens where it is not glibc.

    By itself it raises the size from which it maps memory apart to that of the largest block freed, up to
    32 MB: decoded images then come from one heap a thread, which keeps its size for good.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 4 * MIB)
        mallopt(_M_TRIM_THRESHOLD, 16 * MIB)
        mallopt(_M_ARENA_MAX, 2)


def available_cpus(root: Path = Path("/")) -> int:
    """The smaller of the CPU affinity and the cgroup's quota, at least 1.

    A quota of 1.5 CPUs gives 1: two threads that wait for one another would be throttled together.
    `root` is where /proc and /sys are found.
    """
    # macOS and Windows have no affinity to ask for.
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    granted = float(cpus or 1)
    for limit in limits(root, "cpu", "cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us"):
        fields = limit.split()
        if len(fields) == 2 and fields[0].isdigit():  # else "max", or -1
            granted = min(granted, int(fields[0]) / int(fields[1]))
    return max(1, int(granted))


def limits(root: Path, controller: str, v2: str, *v1: str) -> Iterator[str]:
    """What stands in these files, for our group and each above it: a parent's limit binds its children.

    The file of version 2, or those of version 1 one after another; "" where there are none. `root` is where
    /proc and /sys are found.
    """
    for mount, group, names in (
        (root / "sys/fs/cgroup", _group(root, ""), (v2,)),
        (root / "sys/fs/cgroup" / controller, _group(root, controller), v1),
    ):
        # In a container the group's own path may not be mounted.
        own = mount / group.strip("/")
        for folder in (own, *own.parents):
            if folder.is_relative_to(mount):
                yield " ".join(read(folder / name) for name in names)


def read(path: Path) -> str:
    """A file's text, "" where it cannot be read."""
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _group(root: Path, controller: str) -> str:
    """Our path in the hierarchy of `controller`; "" is version 2's only one."""
    for line in read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return path
    return "/"
