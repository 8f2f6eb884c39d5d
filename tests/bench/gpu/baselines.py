"""torch in fp16 with SDPA, eager and compiled, and the largest rate of matrix products.

Its inputs lie on the card, normalised, and its vectors stay there: no copy counts against it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from encoder_service.bundle import Tower
from tests.bench.gpu.model import TOKENS, Model
from tests.bench.gpu.timing import rate


def matmul_tflops(device: str, size: int, seconds: float) -> float:
    """TFLOP/s of a square product in fp16."""
    import torch

    left, right = (torch.randn(size, size, device=device, dtype=torch.float16) for _ in range(2))

    def step() -> None:
        torch.mm(left, right)
        _finish(device)

    return rate(step, 1, seconds) * 2 * size**3 / 1e12


def forward(model: Model, tower: Tower, device: str) -> Callable[[Any], Any]:
    """A tower's forward pass in fp16, unit vectors out; transformers' model moves to the device."""
    import torch

    network = model.torch.to(device=device, dtype=torch.float16).eval()
    network.set_attn_implementation("sdpa")

    def run(inputs: Any) -> Any:
        answer = (
            network.get_image_features(pixel_values=inputs)
            if tower == "image"
            else network.get_text_features(input_ids=inputs)
        )
        vectors = getattr(answer, "pooler_output", answer)
        return torch.nn.functional.normalize(vectors.float(), dim=-1)

    return run


def compiled(run: Callable[[Any], Any], options: Mapping[str, Any]) -> Callable[[Any], Any]:
    """The same by torch.compile, for fixed shapes."""
    import torch

    result: Callable[[Any], Any] = torch.compile(run, dynamic=False, **options)
    return result


def torch_rate(
    run: Callable[[Any], Any], model: Model, tower: Tower, device: str, batch: int, seconds: float
) -> float:
    """Items a second in batches of this size."""
    import torch

    if tower == "image":
        size = model.image.size
        inputs = torch.rand(batch, 3, size, size, device=device).half()
    else:
        inputs = torch.randint(2, model.vocabulary - 1, (batch, TOKENS), device=device)
        inputs[:, -1] = model.vocabulary - 1

    def step() -> None:
        with torch.inference_mode():
            run(inputs)
        _finish(device)

    return rate(step, batch, seconds)


def _finish(device: str) -> None:
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize()
