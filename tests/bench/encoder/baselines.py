"""What the service is compared with: transformers + torch as its docs show, and the bare session.

Each runs alone in a process of its own, the torch baselines and the sessions in two different ones. All
take the bundle, the folder of images, a batch size and seconds, and return items a second.
"""

from __future__ import annotations

import functools
import io
import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image

from encoder_service.bundle import graph_file, read_manifest
from encoder_service.machine import available_cpus
from tests.bench.encoder import corpus
from tests.decoded import prepare_image

# The docs of transformers pad to the longest text of the batch; the checkpoints' processors and most
# of what is built on them pad to the context length.
Padding = Literal["max_length", "longest"]
READY_BATCHES = 8


def torch_images(bundle: Path, pictures: Path, batch: int, seconds: float) -> float:
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


def torch_texts(bundle: Path, pictures: Path, batch: int, seconds: float, *, padding: Padding) -> float:
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


def session(bundle: Path, pictures: Path, batch: int, seconds: float) -> float:
    """Ready tensors through ONNX Runtime with its own defaults, int8: no decoding, no network."""
    graph = _session(bundle)
    ready = itertools.cycle(_ready(bundle, pictures, batch))
    return _repeat(lambda: graph.run(["embeds"], {"pixels": next(ready)}), batch, seconds)


def session_from_jpegs(bundle: Path, pictures: Path, batch: int, seconds: float) -> float:
    """JPEG bytes to vectors without a service, int8: all cores decode a batch, then all cores run it."""
    rules = read_manifest(bundle).image
    graph = _session(bundle)
    jpegs = itertools.cycle(_small_pictures(pictures))

    def decode(jpeg: bytes) -> NDArray[np.uint8]:
        return prepare_image(jpeg, rules).pixels

    with ThreadPoolExecutor(available_cpus()) as pool:

        def step() -> None:
            squares = list(pool.map(decode, itertools.islice(jpegs, batch)))
            graph.run(["embeds"], {"pixels": np.stack(squares)})

        return _repeat(step, batch, seconds)


def _repeat(step: Callable[[], object], items: int, seconds: float) -> float:
    step()  # the first run of a shape allocates
    start = time.perf_counter()
    for count in itertools.count(1):
        step()
        if (spent := time.perf_counter() - start) >= seconds:
            return items * count / spent
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
def _session(bundle: Path) -> ort.InferenceSession:
    graph = bundle / graph_file("image", "int8")
    return ort.InferenceSession(str(graph), providers=["CPUExecutionProvider"])


@functools.cache
def _small_pictures(folder: Path) -> list[bytes]:
    return corpus.small_pictures(folder)


@functools.cache
def _ready(bundle: Path, pictures: Path, batch: int) -> list[NDArray[np.uint8]]:
    """A few batches as the graph takes them."""
    rules, count = read_manifest(bundle).image, READY_BATCHES * batch
    jpegs = itertools.islice(itertools.cycle(_small_pictures(pictures)), count)
    squares = np.stack([prepare_image(jpeg, rules).pixels for jpeg in jpegs])
    return [squares[i : i + batch] for i in range(0, count, batch)]
