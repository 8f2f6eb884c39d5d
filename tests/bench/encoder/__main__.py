"""Measures the encoder as a user would meet it: `make bench-encoder`, about 8 minutes on two cores.

Real service processes, a client in a process of its own, loopback; CLIP ViT-B/32 with random weights
in int8 and fp32, and the starter bundle; transformers + torch and the bare ONNX Runtime session as
baselines, measured in the same run.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from rich.console import Console

from tests.bench import bundles
from tests.bench.bundles import CLIP, OUT, STARTER
from tests.bench.encoder import plan, report
from tests.bench.encoder.comparison import compare
from tests.bench.encoder.corpus import make_corpus
from tests.bench.encoder.rig import EncoderRig
from tests.bench.encoder.run import Run
from tests.bench.machine import OtherProcesses, describe

PACKAGES = ("onnxruntime", "torch", "transformers", "grpcio", "pillow", "numpy", "tokenizers")


def main() -> None:
    """Runs all of it in order, then writes build/bench/ and prints the tables."""
    console = Console(width=None if sys.stdout.isatty() else 150)
    with EncoderRig(OUT, OUT / "corpus", console) as rig:
        prepare(rig)
        others = OtherProcesses()
        run = measure(rig)
    run = replace(run, other_cores=others.cores())
    report.write(run, OUT)
    report.show(run, OUT, console)


def prepare(rig: EncoderRig) -> None:
    """Builds what is not there yet: the two bundles and the pictures."""
    for bundle in (STARTER, CLIP):
        if bundles.missing(bundle):
            rig.say(f"building {bundle.name}")
            bundles.build(bundle)
    rig.say("pictures: 640x480 and 4000x3000, from the sample photographs")
    make_corpus(rig.corpus)


def measure(rig: EncoderRig) -> Run:
    """The measurements, one after another: they share the cores."""
    start_up = plan.seconds_to_serving(rig, STARTER)
    services = {
        "starter": rig.start("starter", ENCODER_MODEL=str(STARTER)),
        **{
            precision: rig.start(
                precision,
                ENCODER_MODEL=str(CLIP),
                ENCODER_IMAGE_PRECISION=precision,
                ENCODER_TEXT_PRECISION=precision,
            )
            for precision in ("int8", "fp32")
        },
    }
    comparison = compare(rig, CLIP)
    closed = plan.closed_loops(rig, list(services), comparison.rows)
    named = plan.named_loads(rig)
    opened = [plan.open_loop(rig, tower, plan.best_rate(closed, tower)) for tower in plan.TOWERS]
    memory = plan.memory(rig, services)
    return Run(describe(PACKAGES), start_up, comparison, closed, named, opened, memory)


if __name__ == "__main__":
    main()
