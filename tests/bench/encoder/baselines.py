"""What the service is compared with: transformers + torch as its docs show, and the bare session.

Each runs alone in a process of its own, the torch baseline and the sessions in two different ones.
"""

from __future__ import annotations

import functools
import io
import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image

from encoder_service.bundle import Precision, Tower, graph_file, read_manifest
from encoder_service.cpus import available_cpus
from encoder_service.inputs.images import prepare_image
from encoder_service.inputs.texts import TextTokenizer, pad
from tests.bench.encoder import corpus

# The docs of transformers pad to the longest text of the batch; the checkpoints' processors and most
# of what is built on them pad to the context length.
Padding = Literal["max_length", "longest"]
READY_BATCHES = 8


@dataclass(frozen=True, slots=True)
class Rate:
    """Items done and the seconds that they took."""

    items: int
    seconds: float

    @property
    def per_s(self) -> float:
        """Items a second."""
        return self.items / self.seconds


def torch_images(bundle: Path, pictures: Path, batch: int, seconds: float) -> Rate:
    """JPEG bytes to normalised vectors: Pillow, CLIPProcessor, CLIPModel in fp32."""
    import torch

    model, processor = _torch_model(bundle)
    jpegs = itertools.cycle(_small_pictures(pictures))

    def step() -> None:
        images = [Image.open(io.BytesIO(next(jpegs))) for _ in range(batch)]
        inputs = processor(images=images, return_tensors="pt")
        with torch.inference_mode():
            _normalised(model.get_image_features(**inputs))

    return _repeat(step, batch, seconds)


def torch_texts(bundle: Path, batch: int, padding: Padding, seconds: float) -> Rate:
    """Queries to normalised vectors: CLIPProcessor, CLIPModel in fp32."""
    import torch

    model, processor = _torch_model(bundle)
    numbers = itertools.count()

    def step() -> None:
        texts = [corpus.query(next(numbers)) for _ in range(batch)]
        inputs = processor(text=texts, return_tensors="pt", padding=padding, truncation=True)
        with torch.inference_mode():
            _normalised(model.get_text_features(**inputs))

    return _repeat(step, batch, seconds)


def session(
    bundle: Path, pictures: Path, tower: Tower, precision: Precision, batch: int, seconds: float
) -> Rate:
    """Ready tensors through ONNX Runtime with its own defaults: no decoding, no tokens, no network."""
    graph = _session(bundle / graph_file(tower, precision))
    ready = itertools.cycle(_ready(bundle, pictures, tower, batch))
    return _repeat(lambda: graph.run(["embeds"], next(ready)), batch, seconds)


def session_from_jpegs(
    bundle: Path, pictures: Path, precision: Precision, batch: int, seconds: float
) -> Rate:
    """JPEG bytes to vectors without a service: all cores decode a batch, then all cores run it."""
    rules = read_manifest(bundle).image
    graph = _session(bundle / graph_file("image", precision))
    jpegs = itertools.cycle(_small_pictures(pictures))

    def decode(jpeg: bytes) -> NDArray[np.uint8]:
        return prepare_image(jpeg, rules).pixels

    with ThreadPoolExecutor(available_cpus()) as pool:

        def step() -> None:
            squares = list(pool.map(decode, itertools.islice(jpegs, batch)))
            graph.run(["embeds"], {"pixels": np.stack(squares)})

        return _repeat(step, batch, seconds)


def _repeat(step: Callable[[], object], items: int, seconds: float) -> Rate:
    step()  # the first run of a shape allocates
    start = time.perf_counter()
    for count in itertools.count(1):
        step()
        if (spent := time.perf_counter() - start) >= seconds:
            return Rate(items * count, spent)
    raise AssertionError("itertools.count ends never")


def _normalised(output: Any) -> Any:
    features = output.pooler_output
    return (features / features.norm(dim=-1, keepdim=True)).numpy()


@functools.cache
def _torch_model(bundle: Path) -> tuple[Any, Any]:
    """CLIP ViT-B/32 with random weights, and its own processor with the bundle's vocabulary."""
    import transformers
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    library: Any = transformers  # most of it has no types
    library.logging.set_verbosity_error()
    tokenizer = library.PreTrainedTokenizerFast(
        tokenizer_file=str(bundle / "tokenizer.json"),
        model_max_length=read_manifest(bundle).text.context_length,
        pad_token="<|endoftext|>",
    )
    processor = library.CLIPProcessor(image_processor=CLIPImageProcessorPil(), tokenizer=tokenizer)
    return library.CLIPModel(library.CLIPConfig()).eval(), processor


@functools.cache
def _session(graph: Path) -> ort.InferenceSession:
    return ort.InferenceSession(str(graph), providers=["CPUExecutionProvider"])


@functools.cache
def _small_pictures(folder: Path) -> list[bytes]:
    return corpus.small_pictures(folder)


@functools.cache
def _ready(bundle: Path, pictures: Path, tower: Tower, batch: int) -> list[dict[str, NDArray[Any]]]:
    """A few batches as the graph takes them; texts padded to the longest of their batch."""
    manifest = read_manifest(bundle)
    count = READY_BATCHES * batch
    if tower == "text":
        tokens = TextTokenizer(bundle, manifest.text).encode([corpus.query(n) for n in range(count)])
        return [dict(pad(tokens[i : i + batch], manifest.text)) for i in range(0, count, batch)]
    jpegs = itertools.islice(itertools.cycle(_small_pictures(pictures)), count)
    squares = np.stack([prepare_image(jpeg, manifest.image).pixels for jpeg in jpegs])
    return [{"pixels": squares[i : i + batch]} for i in range(0, count, batch)]
