"""CPU time of the processes of a run, read from the kernel: what a call costs each of them."""

from __future__ import annotations

from collections.abc import Mapping

import psutil

from tests.bench.machine import busy_seconds


def cpu_seconds(pids: Mapping[str, int]) -> dict[str, float]:
    """CPU seconds so far by process, and of the whole machine as `machine`.

    `NAME.loop` is the process's main thread, where the event loop of a service runs; `NAME.rest` are its
    other threads, which run the model and gRPC's own work; `NAME.child-PID` each process it started.
    """
    seconds = {"machine": busy_seconds()}
    for name, pid in pids.items():
        process = psutil.Process(pid)
        threads = {thread.id: thread.user_time + thread.system_time for thread in process.threads()}
        times = process.cpu_times()
        loop = threads.get(pid, 0.0)
        seconds[f"{name}.loop"] = loop
        seconds[f"{name}.rest"] = times.user + times.system - loop
        for child in process.children(recursive=True):
            seconds[f"{name}.child-{child.pid}"] = _alive(child)
    return seconds


def resident_mb(pids: Mapping[str, int]) -> dict[str, float]:
    """Resident memory by process, MB (10**6 bytes); `NAME.children` for those it started."""
    found = {}
    for name, pid in pids.items():
        process = psutil.Process(pid)
        found[name] = process.memory_info().rss / 1e6
        found[f"{name}.children"] = sum(child.memory_info().rss for child in process.children(True)) / 1e6
    return found


def _alive(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)
