"""How much memory this process may use: the cgroup's limit, or else the machine's."""

from __future__ import annotations

import ctypes
from pathlib import Path

from encoder_service.cgroup import limits, read

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
    machine = _machine(root)
    ours = [
        int(limit)
        for limit in limits(root, "memory", "memory.max", "memory.limit_in_bytes")
        if limit.isdigit() and int(limit) <= machine
    ]
    return min(ours, default=min(machine // _SHARE, _MOST))


def memory_used(root: Path = Path("/")) -> int:
    """Bytes of this process that are in memory now; 0 where /proc does not say."""
    for line in read(root / "proc/self/status").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def _machine(root: Path) -> int:
    for line in read(root / "proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return _UNKNOWN


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
