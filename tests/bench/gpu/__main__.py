"""Measures the encoder on a CUDA GPU against torch: `make bench-gpu`. Without one it measures nothing.

Our session from tensors in memory, torch eager and torch.compile of the same architecture in fp16, the
rate of large matrix products, and the service. Figures are written after each step. It needs
onnxruntime-gpu, a torch with CUDA, transformers, onnx-ir and onnxscript; for the service also what a
service needs, and a bundle with fp16 graphs (--bundle), or a network to make one.
"""

from __future__ import annotations

import argparse
import datetime
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from encoder_service.bundle import Tower
from encoder_service.runtime.providers import SessionError, choose_provider, find_gpu
from tests.bench.bundles import CLIP_FP16, OUT, build
from tests.bench.gpu.report import Figures, Rates
from tests.bench.machine import versions

NAME = "clip-vit-base-patch32"
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
TOWERS: tuple[Tower, ...] = ("image", "text")
_PACKAGES = ("onnxruntime-gpu", "torch", "transformers", "numpy")
_MATMUL = 8192
_CONSTANT_MEMORY_BATCHES = 10_000


def main() -> None:
    """Everything in order; without a card one line."""
    options = _arguments()
    try:
        gpu = find_card()
    except SessionError as error:
        print(f"bench-gpu: {error}; nothing was measured")
        return
    figures = Figures(
        gpu, datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), versions(_PACKAGES), {}
    )
    measure(figures, options, "cuda", lambda: figures.write(options.out / "gpu.json"))
    print(figures.table())


def find_card() -> str:
    """The first card's name, with an ONNX Runtime and a torch that can use it. Raises SessionError."""
    choose_provider("cuda", 0)
    try:
        import torch
    except ModuleNotFoundError:
        raise SessionError("torch is not installed") from None
    if not torch.cuda.is_available():
        raise SessionError("the torch that is installed has no CUDA, or cannot use it")
    return find_gpu(0)


def measure(figures: Figures, options: Any, provider: Any, save: Callable[[], None]) -> None:
    """Runs the steps on `provider` ("cpu": at toy size, in tests). A step that fails is told and left out."""
    from tests.bench.gpu import baselines, ours
    from tests.bench.gpu.model import make_model

    device, seconds = "cuda" if provider == "cuda" else "cpu", options.seconds
    largest = max(options.batches)
    model = make_model(options.model, options.out / "gpu-graphs")
    figures.flops = {str(tower): flops for tower, flops in model.flops.items()}

    def step(what: str, act: Callable[[], None]) -> None:
        print(f"== {what}", flush=True)
        try:
            act()
        except Exception as error:  # one library's fault must not take the other figures along
            lines = str(error).strip().splitlines() or [type(error).__name__]
            figures.not_measured.append(f"{what} ({lines[0]})")
        save()

    def session() -> None:
        towers = ours.open_ours(model, provider, "fp16", largest)
        for tower in TOWERS:
            figures.cosine[tower] = towers.lowest_cosine(tower, min(16, largest))
            for batch in options.batches:
                _rates(figures.session, tower)[batch] = towers.rate(tower, batch, seconds)
        figures.p50_ms_batch1 = towers.p50_ms(seconds)

    def memory() -> None:
        towers = ours.open_ours(model, provider, "fp16", largest)
        grown = towers.memory_growth(options.memory_batches, largest, lambda: _used(device))
        figures.memory_growth_mb = grown / 1e6

    def matmul() -> None:
        figures.matmul_tflops = baselines.matmul_tflops(device, options.matmul, seconds)

    def torch_rates(into: Rates, compile_with: dict[str, Any] | None) -> None:
        for tower in ("image", "text"):
            run = baselines.forward(model, tower, device)
            if compile_with is not None:
                run = baselines.compiled(run, compile_with)
            for batch in options.batches if compile_with is None else options.compile_batches:
                _rates(into, tower)[batch] = baselines.torch_rate(run, model, tower, device, batch, seconds)
                save()

    def service() -> None:
        from rich.console import Console

        from tests.bench.encoder.corpus import make_corpus
        from tests.bench.gpu import service as served

        corpus, logs = options.out / "corpus", options.out / "gpu-service"
        make_corpus(corpus)
        bundle = options.bundle or build(CLIP_FP16)
        rates = served.measure(bundle, corpus, logs, provider, options.clients, seconds, Console())
        figures.service_raw_per_s, figures.service_jpeg_per_s = rates["raw"], rates["jpeg"]

    step("a large product in fp16", matmul)
    step("our session", session)
    step("memory over batches of varying size", memory)
    step("torch eager", lambda: torch_rates(figures.eager, None))
    step("torch.compile", lambda: torch_rates(figures.compile, options.compile_with))
    if options.clients:
        step("the service", service)
    else:
        figures.not_measured.append("the service (--clients 0)")
        save()


def _rates(rates: Rates, tower: str) -> dict[int, float]:
    return rates.setdefault(tower, {})


def _used(device: str) -> int:
    """Bytes in use: of the whole card, or of this process."""
    if device == "cuda":
        import torch

        free, total = torch.cuda.mem_get_info()
        return int(total - free)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.gpu", description=__doc__)
    parser.add_argument("--batches", type=_numbers, default=list(BATCHES))
    parser.add_argument("--compile-batches", type=_numbers, default=list(BATCHES), help="each takes minutes")
    parser.add_argument("--seconds", type=float, default=3.0, help="a measurement's length")
    parser.add_argument("--memory-batches", type=int, default=_CONSTANT_MEMORY_BATCHES)
    parser.add_argument(
        "--clients", type=int, default=4, help="processes that load the service; 0 = leave it out"
    )
    parser.add_argument("--bundle", type=Path, help="a bundle with fp16 graphs, for the service")
    parser.add_argument("--model", default=NAME, help="a known CLIP architecture")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.set_defaults(compile_with={"mode": "max-autotune"}, matmul=_MATMUL)
    return parser.parse_args()


if __name__ == "__main__":
    main()
