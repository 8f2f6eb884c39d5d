"""The CPUs that are granted, read from folders made up like /proc and /sys."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from encoder_service.cpus import available_cpus


@pytest.fixture(autouse=True)
def sixteen_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text + "\n")


def test_without_a_cgroup_the_affinity_counts(tmp_path: Path) -> None:
    assert available_cpus(tmp_path) == 16


@pytest.mark.parametrize(
    ("quota", "cpus"), [("400000 100000", 4), ("150000 100000", 1), ("50000 100000", 1), ("max 100000", 16)]
)
def test_the_quota_of_a_version_2_group_is_kept(tmp_path: Path, quota: str, cpus: int) -> None:
    write(tmp_path, "proc/self/cgroup", "0::/pods/one")
    write(tmp_path, "sys/fs/cgroup/pods/one/cpu.max", quota)
    assert available_cpus(tmp_path) == cpus


def test_the_tightest_quota_up_the_tree_binds(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "0::/pods/one")
    write(tmp_path, "sys/fs/cgroup/pods/one/cpu.max", "max 100000")
    write(tmp_path, "sys/fs/cgroup/pods/cpu.max", "300000 100000")
    assert available_cpus(tmp_path) == 3


def test_a_container_that_mounts_its_own_group_at_the_root_is_understood(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "0::/kubepods/pod1/abc")
    write(tmp_path, "sys/fs/cgroup/cpu.max", "200000 100000")
    assert available_cpus(tmp_path) == 2


@pytest.mark.parametrize(("quota", "cpus"), [("200000", 2), ("-1", 16)])
def test_the_quota_of_a_version_1_group_is_kept(tmp_path: Path, quota: str, cpus: int) -> None:
    write(tmp_path, "proc/self/cgroup", "4:memory:/x\n2:cpu,cpuacct:/docker/abc\n0::/")
    write(tmp_path, "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us", quota)
    write(tmp_path, "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_period_us", "100000")
    assert available_cpus(tmp_path) == cpus


def test_the_affinity_binds_where_it_is_smaller(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "0::/")
    write(tmp_path, "sys/fs/cgroup/cpu.max", "9900000 100000")
    assert available_cpus(tmp_path) == 16
