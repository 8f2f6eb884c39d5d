"""`make models-speed`: how fast each model of `clipsearch model list` encodes on this machine's CPUs.

Speed does not depend on what the weights are, so each architecture gets random ones. It is exported as
`clipsearch model export` does it, and the graph is run that a CPU would be given: int8, or fp32 for
towers of convolutions. What is exported already, in build/models-speed, is only measured, all models in turn
and that three times; build/models-speed.json has the medians.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from encoder_service.bundle import Precision, Tower, graph_file
from encoder_service.machine import available_cpus
from encoder_service.runtime.session import OnnxSession
from tests.bench.machine import describe

OUT = Path("build")
GRAPHS, WHOLE = OUT / "models-speed", OUT / "models-speed.json"
ROUNDS, FOR_S = 3, 3.0
BATCH = 4  # images
TEXT = "two children share an umbrella in the rain"

# By the names of clipsearch/cli/models.json; the architectures of OpenCLIP's list.
ARCHITECTURES = {
    "google/siglip2-base-patch16-256": "ViT-B-16-SigLIP2-256",
    "google/siglip2-base-patch32-256": "ViT-B-32-SigLIP2-256",
    "google/siglip-base-patch16-256-multilingual": "ViT-B-16-SigLIP-i18n-256",
    "laion/CLIP-ViT-L-14-laion2B-s32B-b82K": "ViT-L-14",
    "google/siglip2-so400m-patch14-384": "ViT-SO400M-14-SigLIP2-378",  # as 384, which drops 6 pixels
    "google/siglip-base-patch16-224": "ViT-B-16-SigLIP",
    "google/siglip-so400m-patch14-384": "ViT-SO400M-14-SigLIP-384",
    "openai/clip-vit-base-patch32": "ViT-B-32-quickgelu",
    "openai/clip-vit-large-patch14": "ViT-L-14-quickgelu",
    "hf-hub:laion/CLIP-ViT-B-32-xlm-roberta-base-laion5B-s13B-b90k": "xlm-roberta-base-ViT-B-32",
    "hf-hub:timm/PE-Core-B-16": "PE-Core-B-16",
    "hf-hub:timm/PE-Core-L-14-336": "PE-Core-L-14-336",
    "hf-hub:timm/MobileCLIP2-S2-OpenCLIP": "MobileCLIP2-S2",
    "hf-hub:apple/DFN2B-CLIP-ViT-L-14": "ViT-L-14-quickgelu",
}


def main() -> None:
    """Exports what is not exported yet, then measures all."""
    context = multiprocessing.get_context("spawn")  # a process a model: gigabytes are given back
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=OUT) as hub:
        # Libraries read it when they are imported, in those processes.
        os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": hub}
        for name in dict.fromkeys(ARCHITECTURES.values()):
            if not (GRAPHS / name / "inputs.npz").is_file():
                print(f"exporting {name}", flush=True)
                _in_its_own_process(context, export, name)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in ARCHITECTURES.values()}
    for _ in range(ROUNDS):
        for name in rows:
            rows[name].append(_in_its_own_process(context, measure, name))
            print(name, json.dumps(rows[name][-1]), flush=True)
    medians = {name: _medians(rounds) for name, rounds in rows.items()}
    models = {model: medians[architecture] for model, architecture in ARCHITECTURES.items()}
    WHOLE.write_text(
        json.dumps({"machine": describe(["onnxruntime", "torch"]), "models": models}, indent=1) + "\n"
    )


def export(name: str) -> None:
    """Writes the graphs that a CPU is given, and the inputs of a text."""
    from encoder_service.export.build import for_cpus
    from encoder_service.export.sources.load import load_random
    from encoder_service.export.write_graphs import write_graphs
    from encoder_service.inputs.texts import TextTokenizer, pad
    from tests.models import hub_cache

    hub_cache.fill(Path(os.environ["HF_HUB_CACHE"]))
    with tempfile.TemporaryDirectory(dir=OUT) as place:
        folder = Path(place, "graphs")
        folder.mkdir()
        encoder, made = write_graphs(load_random(name, 0), folder, ("fp32", "int8"), print)
        sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
        for tower, there in made.items():
            for other in {*there} - {for_cpus(tower, there, sizes)}:
                for path in folder.glob(f"{graph_file(tower, other)}*"):
                    path.unlink()
        inputs = pad(TextTokenizer(encoder.tokenizer, encoder.text).encode([TEXT]), encoder.text)
        arrays: dict[str, Any] = {"size": encoder.image.size, **inputs}
        np.savez(folder / "inputs.npz", **arrays)
        GRAPHS.mkdir(parents=True, exist_ok=True)
        folder.rename(GRAPHS / name)


def measure(name: str) -> dict[str, Any]:
    """Images a second in batches, and milliseconds of one text alone."""
    folder = GRAPHS / name
    inputs = dict(np.load(folder / "inputs.npz"))
    size = int(inputs.pop("size"))
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, size, size, 3), np.uint8)
    image, image_s = _seconds(folder, "image", {"pixels": pixels})
    text, text_s = _seconds(folder, "text", inputs)
    return {"image": image, "text": text, "images_per_s": BATCH / image_s, "text_ms": text_s * 1e3}


def _seconds(folder: Path, tower: Tower, inputs: Mapping[str, np.ndarray]) -> tuple[str, float]:
    """The precision there is, and the median of its runs after some for warmth."""
    precision: Precision = "int8" if (folder / graph_file(tower, "int8")).is_file() else "fp32"
    session = OnnxSession(folder / graph_file(tower, precision), "cpu", available_cpus())
    runs: list[float] = []
    until = time.monotonic() + FOR_S
    while len(runs) < 5 or time.monotonic() < until:
        start = time.perf_counter()
        session.run(inputs)
        runs.append(time.perf_counter() - start)
    return precision, statistics.median(runs[2:])


def _medians(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    middle = {key: statistics.median(one[key] for one in rounds) for key in ("images_per_s", "text_ms")}
    return rounds[0] | {key: float(f"{value:.3g}") for key, value in middle.items()}


def _in_its_own_process(context: Any, job: Any, name: str) -> Any:
    with context.Pool(1) as pool:
        return pool.apply(job, (name,))


if __name__ == "__main__":
    main()
