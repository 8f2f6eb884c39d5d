"""The memory that may be used: the tightest cgroup of ours, of either version, or a share of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from encoder_service import machine
from encoder_service.machine import decoding_memory, memory_limit, memory_used

GIB = 2**30


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in ({"proc/meminfo": "MemTotal:  16777216 kB\nMemFree: 1 kB\n"} | files).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, 4 * GIB),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "max\n"}, 4 * GIB),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": str(2 * GIB)}, 2 * GIB),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/b/memory.max": str(2 * GIB),
                "sys/fs/cgroup/a/memory.max": str(GIB),
            },
            GIB,
        ),
        # In a container our own path may not be mounted.
        ({"proc/self/cgroup": "0::/kubepods/x\n", "sys/fs/cgroup/memory.max": str(3 * GIB)}, 3 * GIB),
        (
            {
                "proc/self/cgroup": "5:memory:/pod\n",
                "sys/fs/cgroup/memory/pod/memory.limit_in_bytes": str(GIB),
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
            },
            GIB,
        ),
        # Version 1 says so where there is no limit.
        (
            {
                "proc/self/cgroup": "5:memory:/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
            },
            4 * GIB,
        ),
    ],
)
def test_the_limit(tmp_path: Path, files: dict[str, str], limit: int) -> None:
    assert memory_limit(write(tmp_path, files)) == limit


def test_a_large_machine_is_not_taken_whole_and_a_silent_one_is_small(tmp_path: Path) -> None:
    assert memory_limit(write(tmp_path / "large", {"proc/meminfo": f"MemTotal: {2**30} kB\n"})) == 8 * GIB
    assert memory_limit(tmp_path / "nothing") == GIB


def test_decoding_gets_half_of_what_is_left_and_enough_for_a_photograph(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "memory_limit", lambda: 1536 * 2**20)
    monkeypatch.setattr(machine, "memory_used", lambda: 336 * 2**20)
    assert decoding_memory() == 600 * 2**20
    monkeypatch.setattr(machine, "memory_used", lambda: 1500 * 2**20)
    assert decoding_memory() == 64 * 2**20


def test_what_is_used_is_told_by_the_system_or_taken_as_nothing(tmp_path: Path) -> None:
    assert (
        memory_used(write(tmp_path, {"proc/self/status": "VmPeak: 9 kB\nVmRSS:\t  512 kB\n"})) == 512 * 1024
    )
    assert memory_used(tmp_path / "nothing") == 0
