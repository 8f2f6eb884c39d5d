"""Measures the encoder as a user would meet it: `make bench-encoder`, about 6 minutes on two cores.

Real service processes, a client in a process of its own, loopback; CLIP ViT-B/32 with random weights
in int8 and fp32, and the starter bundle; transformers + torch and the bare ONNX Runtime session as
baselines, measured in the same run.
"""

from __future__ import annotations

from rich.console import Console

from tests.bench.bundles import CLIP, OUT, STARTER, build
from tests.bench.encoder import plan
from tests.bench.encoder.comparison import compare
from tests.bench.encoder.corpus import make_corpus
from tests.bench.encoder.rig import EncoderRig
from tests.bench.encoder.run import Run
from tests.bench.machine import OtherProcesses, describe
from tests.bench.results import finish

PACKAGES = ("onnxruntime", "torch", "transformers", "grpcio", "pillow", "numpy", "tokenizers")


def main() -> None:
    """Builds what is not there yet, runs all of it in order, writes build/bench/encoder.json."""
    build(STARTER)
    build(CLIP)
    console = Console()
    with EncoderRig(OUT, OUT / "corpus", console) as rig:
        rig.say("images: 640x480 and 4000x3000, from the sample photographs")
        make_corpus(rig.corpus)
        others = OtherProcesses()
        run = measure(rig)
    finish(run, others, console, OUT / "encoder.json")


def measure(rig: EncoderRig) -> Run:
    """The measurements, one after another: they share the cores."""
    start_up = plan.seconds_to_serving(rig, STARTER)
    for precision in ("int8", "fp32"):
        rig.start(
            precision,
            ENCODER_MODEL=str(CLIP),
            ENCODER_IMAGE_PRECISION=precision,
            ENCODER_TEXT_PRECISION=precision,
        )
    comparison = compare(rig, CLIP)
    return Run(
        machine=describe(PACKAGES),
        seconds_to_serving=start_up,
        comparison=comparison,
        open=[
            plan.open_loop(rig, tower, comparison.service("int8", tower).summary.ok_per_s)
            for tower in plan.TOWERS
        ],
        memory=plan.memory(rig),
    )


if __name__ == "__main__":
    main()
