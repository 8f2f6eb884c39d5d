"""Measures search as a user would meet it: `make bench-search`, about 9 minutes on two cores.

Real service processes over Qdrant Edge, a client in a process of its own, loopback; 10,000 and 100,000
vectors (and 1,000,000 with --full, which takes far longer), recall beside every latency; qdrant-client's
local mode as the baseline, measured in the same run. What the vectors are like: corpus.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console

from tests.bench import bundles
from tests.bench.bundles import CLIP, OUT
from tests.bench.machine import OtherProcesses, describe
from tests.bench.search import corpus, plan, report
from tests.bench.search.compressed import measure_compressed
from tests.bench.search.rig import Row, SearchRig
from tests.bench.search.run import Run

PACKAGES = ("qdrant-edge-py", "qdrant-client", "grpcio", "protobuf", "onnxruntime", "numpy")


def main() -> None:
    """Runs all of it in order, then writes build/bench/ and prints the tables."""
    parser = argparse.ArgumentParser(prog="tests.bench.search", description=__doc__)
    parser.add_argument("--full", action="store_true", help="1,000,000 points too")
    sizes = [*plan.SIZES, plan.LARGE] if parser.parse_args().full else plan.SIZES
    console = Console(width=None if sys.stdout.isatty() else 150)
    with SearchRig(OUT, console) as rig:
        if bundles.missing(CLIP):
            rig.say(f"building {CLIP.name}")
            bundles.build(CLIP)
        others = OtherProcesses()
        run = measure(rig, sizes)
    run = replace(run, other_cores=others.cores())
    report.write(run, OUT)
    report.show(run, OUT, console)


def measure(rig: SearchRig, sizes: Sequence[int]) -> Run:
    """The measurements, one after another: they share the cores."""
    rig.start()
    disk = plan.measure_disk(rig)
    measured = []
    texts: list[Row] = []
    for points in sizes:
        measured.append(plan.measure_size(rig, points))
        if points == plan.TEXTS_AT:
            texts = plan.measure_texts(rig, points)
    compressed = measure_compressed(rig)
    return Run(describe(PACKAGES), corpus.describe(), measured, texts, disk, compressed)


if __name__ == "__main__":
    main()
