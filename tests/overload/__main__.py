"""`make overload`: ten times the best rate for a minute, from a process of its own; build/overload.json.

The encoder with CLIP ViT-B/32 in int8 and one image a call, a deadline of a second. The best rate is the
most that was answered in time in an open loop, in this very run; its p99 is what the overload's is held to.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.bench.bundles import CLIP, OUT, ROOT, build
from tests.bench.encoder.calls import Closed, Load, Open, run_load
from tests.bench.encoder.corpus import make_corpus
from tests.bench.machine import OtherProcesses, describe
from tests.bench.summary import Summary
from tests.processes import ServiceProcess

DEADLINE_S = 1.0
NO_DEADLINE_S = 120.0
WARM_S = 1.0
TIMES = 10
OFFERS = (0.6, 0.75, 0.9, 1.0, 1.2)
SAMPLE_S = 0.25
# CANCELLED is how the service ends a call whose time is up: its word may come before the client's own clock.
ALLOWED = {"RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "CANCELLED"}
# Of the best rate, at least. The client takes a part of the cores that it shares with the service.
GOODPUT_APART, GOODPUT_SHARED = 0.9, 0.85
BOUNDS = {"p99_ratio": 3.0, "slowest_health_ms": 1000.0, "rss_growth_mb": 100.0}


@dataclass
class Watch:
    """Health and memory of a service, looked at from a thread until it is stopped."""

    service: ServiceProcess
    health_ms: list[float] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)

    def __enter__(self) -> Watch:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        with grpc.insecure_channel(self.service.address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            while not self._stop.wait(SAMPLE_S):
                start = time.perf_counter()
                try:
                    answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=10)  # type: ignore[attr-defined]
                    serving = answer.status == health_pb2.HealthCheckResponse.SERVING
                except grpc.RpcError:
                    serving = False
                seconds = time.perf_counter() - start if serving else float("inf")
                self.health_ms.append(round(1000 * seconds, 1))
                self.rss_mb.append(round(self.service.rss_mb(), 1))


def main() -> None:
    """Measures, writes the report, prints what it comes down to."""
    parser = argparse.ArgumentParser(prog="python -m tests.overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--apart", action="store_true", help="service and client on different cores")
    flags = parser.parse_args()
    build(CLIP)
    corpus, out = OUT / "corpus", ROOT / "build" / "overload.json"
    make_corpus(corpus)
    others = OtherProcesses()
    report = measure(CLIP, ROOT / "build" / "overload", corpus, flags.seconds, apart=flags.apart)
    report["other_cores"] = round(others.cores(), 2)
    out.write_text(json.dumps(report, indent=1) + "\n")
    for name, bound in report["bounds"].items():
        print(f"{name}: {report[name]} (bound {bound:g})")
    print(f"statuses: {report['statuses']}; other cores {report['other_cores']}; {out}")
    sys.exit(0 if report["passed"] else 1)


def measure(
    model: Path, folder: Path, corpus: Path, seconds: float, step_s: float = 6.0, apart: bool = False
) -> dict[str, Any]:
    """The best rate, then TIMES as much for `seconds`, with the images of `corpus`."""
    cores = sorted(os.sched_getaffinity(0))
    if apart:
        os.sched_setaffinity(0, cores[:1])  # children inherit it
    with ServiceProcess("encoder", folder, ENCODER_MODEL=str(model)) as service:
        os.sched_setaffinity(0, cores[1:] if apart else cores)
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            loads = 0

            def load(pattern: Closed | Open, for_s: float, deadline_s: float = DEADLINE_S) -> Summary:
                nonlocal loads
                loads += 1
                first = loads * 200_000
                one = Load(service.address, corpus, "image", pattern, first, deadline_s, WARM_S, for_s)
                return pool.submit(run_load, one).result(timeout=for_s + 120)

            closed = load(Closed(16), step_s, NO_DEADLINE_S)
            steps = [load(Open(share * closed.ok_per_s), step_s) for share in OFFERS]
            best = max(steps, key=lambda step: step.in_time_per_s)
            before = service.cpu_seconds()
            with Watch(service) as watch:
                summary = load(Open(TIMES * best.in_time_per_s), seconds)
            used = service.cpu_seconds() - before
    goodput = GOODPUT_APART if apart else GOODPUT_SHARED
    quarter = max(1, len(watch.rss_mb) // 4)
    figures = {
        "goodput_ratio": round(summary.in_time_per_s / best.in_time_per_s, 3),
        "p99_ratio": round((summary.p99_ms or float("inf")) / (best.p99_ms or 1.0), 2),
        "slowest_health_ms": max(watch.health_ms),
        # From the first quarter's peak to the last's: what grows and grows.
        "rss_growth_mb": round(max(watch.rss_mb[-quarter:]) - max(watch.rss_mb[:quarter]), 1),
    }
    return {
        **figures,
        "passed": figures["goodput_ratio"] >= goodput
        and all(figures[name] <= bound for name, bound in BOUNDS.items())
        and set(summary.errors) <= ALLOWED,
        "bounds": {"goodput_ratio": goodput, **BOUNDS},
        "apart": apart,
        "statuses": summary.errors,
        "closed_per_s": round(closed.ok_per_s, 1),
        "best": dataclasses.asdict(best),
        "overload": dataclasses.asdict(summary),
        "steps": [dataclasses.asdict(step) for step in steps],
        "service_cores": round(used / (seconds + WARM_S), 2),
        "health_ms": watch.health_ms,
        "rss_mb": watch.rss_mb,
        "machine": describe(("onnxruntime", "grpcio", "pillow")),
    }


if __name__ == "__main__":
    main()
