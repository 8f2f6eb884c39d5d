"""One tower's ONNX Runtime session, how batches reach it, and what it must show before it serves."""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from encoder_service.bundle import Manifest, Precision, TextRules, Tower, Vectors, decode_vector, is_fp16
from encoder_service.inputs.texts import Tokens, pad
from encoder_service.runtime.providers import ProviderName, SessionError, check_placement, provider_options

Item = TypeVar("Item")

Pixels = NDArray[np.uint8]
# Items as one batch, to their vectors.
Run = Callable[[Sequence[Item]], Vectors]

# Cosine to the vectors that the fp32 graphs gave when the bundle was made.
KNOWN_ANSWER_BOUNDS: dict[Precision, float] = {"fp32": 0.999, "fp16": 0.999, "int8": 0.98}

# Batch sizes that measuring may choose on a CPU: images, short texts.
_IMAGES, _TEXTS = (4, 32), (16, 64)
# The smallest batch within this share of the best rate: a larger one only makes callers wait.
_GOOD_ENOUGH = 0.95


class OnnxSession:
    """A graph loaded into ONNX Runtime.

    On a CPU one thread at a time may run it. On a card two may: while one batch runs, the next is copied.
    """

    def __init__(
        self, path: Path, provider: ProviderName, threads: int, *, device: int = 0, memory_mb: int = 0
    ) -> None:
        """Loads and optimises the graph; all of it runs on the provider.

        `device` is a card's number, `memory_mb` the MiB that may be taken of it, 0 = no limit. Raises
        SessionError.
        """
        options = _options(threads)
        # On x86 its layout pass, which is for float32, dies of a transposed fp16 product (onnxruntime#28392).
        without = ["NchwcTransformer"] if provider == "cpu" and is_fp16(path) else None
        if provider == "cuda":
            options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
            ort.preload_dlls()  # the loader does not look where pip puts CUDA's and cuDNN's libraries
        try:
            providers = provider_options(provider, device=device, memory_mb=memory_mb)
            self.onnx = ort.InferenceSession(
                str(path), options, providers=providers, enable_fallback=False, disabled_optimizers=without
            )
        except Exception as error:  # ONNX Runtime's own exception types are not exported
            raise SessionError(f"{path.name} cannot be loaded: {first_line(error)}") from None
        check_placement(self.onnx, path.name, provider)
        self.provider: str = self.onnx.get_providers()[0]
        self._place = (provider, device)
        self._running = threading.Lock()

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Vectors:
        """Inputs by name, each [batch, ...]; answers float32 [batch, dimension]. Blocks."""
        if self._place[0] == "cpu":
            vectors: Vectors = self.onnx.run(["embeds"], dict(inputs))[0]
            return vectors
        return self.run_bound(inputs)

    def run_bound(self, inputs: Mapping[str, NDArray[Any]]) -> Vectors:
        """The same by I/O binding: inputs are copied to the card before the session's turn comes."""
        binding = self.onnx.io_binding()
        for name, array in inputs.items():
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array, *self._place))
        binding.bind_output("embeds")
        with self._running:
            self.onnx.run_with_iobinding(binding)
        vectors: Vectors = binding.copy_outputs_to_cpu()[0]
        return vectors


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Plans memory for one shape and keeps it for every shape it meets; batches vary, memory would grow.
    options.enable_mem_pattern = False
    # Threads that wait for each other sleep instead of spinning: decoding and the event loop want the
    # same cores. Measured on two cores, CLIP ViT-B/32 int8, 16 clients, beside busy neighbours:
    # 14-17 ms of CPU an image instead of 27-30, 2.0-2.7 ms a text instead of 4.1-4.8; on an
    # otherwise idle machine 89 images/s instead of 93.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def first_line(error: BaseException) -> str:
    """What an error says first, ONNX Runtime's without its code and the place in its source."""
    text = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    return re.sub(r"/onnxruntime_src/.*(?:= [^]]*\]|&\)) ", "", text)


@dataclass(frozen=True, slots=True)
class Feeding(Generic[Item]):
    """How a tower's batches are run: `run` blocks, `weigh` is an item's share of a batch.

    `sizes` are the smallest and the largest number of light items that a batch may have at most; past
    `capacity`, where it is not 0, a batch cannot be run. `in_flight` threads may call `run` at once.
    """

    run: Run[Item]
    weigh: Callable[[Item], int]
    sizes: tuple[int, int]
    capacity: int = 0
    in_flight: int = 1


def plain_images(session: OnnxSession) -> Feeding[Pixels]:
    """Images of uint8 [size, size, 3] as one batch through the image graph."""
    return Feeding(lambda images: session.run({"pixels": np.stack(images)}), lambda pixels: 1, _IMAGES)


def plain_texts(session: OnnxSession, rules: TextRules) -> Feeding[Tokens]:
    """Texts as one batch, padded by the rules, through the text graph."""
    return Feeding(lambda texts: session.run(pad(texts, rules)), lambda tokens: len(tokens.ids), _TEXTS)


def check_known_answer(manifest: Manifest, tower: Tower, precision: Precision, vector: Vectors) -> None:
    """Compares a tower's vector, float32 [dimension], with the manifest's.

    Raises SessionError, with the way out if there is one.
    """
    known = manifest.known_answer
    expected = decode_vector(known.image_vector if tower == "image" else known.text_vector)
    if vector.shape != expected.shape:
        raise SessionError(f"the {tower} graph gives {vector.shape} numbers, the manifest {expected.shape}")
    lengths = float(np.linalg.norm(vector) * np.linalg.norm(expected))
    cosine = float(vector @ expected) / lengths if lengths else 0.0
    bound = KNOWN_ANSWER_BOUNDS[precision]
    if not cosine >= bound:  # NaN fails too
        lower = precision != "fp32" and "fp32" in manifest.precisions[tower]
        advice = (
            f": export it again, or run fp32 with ENCODER_{tower.upper()}_PRECISION=fp32" if lower else ""
        )
        raise SessionError(
            f"the {tower} graph ({precision}) does not give the known answer: cosine {cosine:.5f}, "
            f"at least {bound} is asked for; the CPU, the runtime or the bundle is not what it was{advice}"
        )


def best_batch(run: Run[Item], item: Item, smallest: int, largest: int, budget_s: float) -> int:
    """The number of items a batch should have at most, measured with copies of `item` for `budget_s` seconds.

    Tries 1, 2, 4, ... and goes round them again while there is time; the best run of each size counts,
    so that a neighbour who is busy for a moment does not decide. Never below `smallest`: handing
    batches over costs something too, which a session alone does not show.
    """
    run([item])
    end = time.perf_counter() + budget_s
    best = {1: _seconds(run, [item])}
    while (size := 2 * max(best)) <= largest and 2 * best[size // 2] < end - time.perf_counter():
        best[size] = _seconds(run, [item] * size)
    for size in itertools.cycle(sorted(best, reverse=True)):
        if best[size] > end - time.perf_counter():
            break
        best[size] = min(best[size], _seconds(run, [item] * size))
    rates = {size: size / seconds for size, seconds in best.items()}
    enough = _GOOD_ENOUGH * max(rates.values())
    return max(smallest, next(size for size in sorted(rates) if rates[size] >= enough))


def _seconds(run: Run[Item], items: Sequence[Item]) -> float:
    start = time.perf_counter()
    run(items)
    return time.perf_counter() - start
