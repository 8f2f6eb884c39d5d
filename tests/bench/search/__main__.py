"""Measures search as a user would meet it: `make bench-search`, about 7 minutes on two cores.

Real service processes over Qdrant Edge, a client in a process of its own, loopback; 10,000 and 100,000
vectors, recall beside every latency; qdrant-client's local mode as the baseline, measured in the same run.
What the vectors are like: corpus.py.
"""

from __future__ import annotations

from rich.console import Console

from tests.bench.bundles import CLIP, OUT, build
from tests.bench.machine import OtherProcesses, describe
from tests.bench.results import finish
from tests.bench.search import corpus, plan
from tests.bench.search.compressed import measure_compressed
from tests.bench.search.rig import SearchRig
from tests.bench.search.run import Run

PACKAGES = ("qdrant-edge-py", "qdrant-client", "grpcio", "protobuf", "onnxruntime", "numpy")


def main() -> None:
    """Runs all of it in order, one after another: they share the cores. Writes build/bench/search.json."""
    build(CLIP)
    console = Console()
    with SearchRig(OUT, console) as rig:
        others = OtherProcesses()
        rig.start()
        disk = plan.measure_disk(rig)
        run = Run(
            machine=describe(PACKAGES),
            corpus=corpus.describe(),
            local_disk=disk,
            small=plan.measure_small(rig),
            large=plan.measure_large(rig),
            compressed=measure_compressed(rig),
        )
    finish(run, others, console, OUT / "search.json")


if __name__ == "__main__":
    main()
