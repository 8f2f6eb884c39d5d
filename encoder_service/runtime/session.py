"""One tower's ONNX Runtime session: the provider that was asked for, bounded threads, vectors out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from encoder_service.bundle import TextRules
from encoder_service.inputs.texts import Tokens, pad
from encoder_service.runtime.providers import (
    Device,
    ProviderName,
    SessionError,
    Shapes,
    check_placement,
    preload_libraries,
    provider_options,
)

Pixels = NDArray[np.uint8]
Vectors = NDArray[np.float32]
PictureRunner = Callable[[Sequence[Pixels]], Vectors]
TextRunner = Callable[[Sequence[Tokens]], Vectors]

__all__ = ["OnnxSession", "PictureRunner", "Pixels", "Session", "SessionError", "TextRunner", "Vectors"]


class Session(Protocol):
    """What a tower needs from a session; tests put a fake behind it."""

    @property
    def provider(self) -> str:
        """The ONNX Runtime provider that runs the graph."""

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Vectors:
        """Inputs by name, each [batch, ...]; answers float32 [batch, dimension]. Blocks."""


class OnnxSession:
    """A graph loaded into ONNX Runtime. Safe to call from one thread at a time."""

    def __init__(
        self,
        path: Path,
        provider: ProviderName,
        threads: int,
        device: Device = Device(),
        shapes: Shapes | None = None,
    ) -> None:
        """Loads and optimises the graph; all of it runs on the provider. Raises SessionError.

        `shapes` are those that TensorRT builds its engine for.
        """
        options = _options(threads)
        if provider != "cpu":
            options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        self.onnx = _open(path, options, provider, device, shapes)
        check_placement(self.onnx, path.name, provider)
        self.provider: str = self.onnx.get_providers()[0]

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Vectors:  # noqa: D102
        vectors: Vectors = self.onnx.run(["embeds"], dict(inputs))[0]
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
    # 14-17 ms of CPU a picture instead of 27-30, 2.0-2.7 ms a text instead of 4.1-4.8; on an
    # otherwise idle machine 89 pictures/s instead of 93.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _open(
    path: Path, options: ort.SessionOptions, provider: ProviderName, device: Device, shapes: Shapes | None
) -> ort.InferenceSession:
    if provider != "cpu":
        preload_libraries()

    def load(providers: list[tuple[str, dict[str, str]]]) -> ort.InferenceSession:
        try:
            return ort.InferenceSession(str(path), options, providers=providers, enable_fallback=False)
        except Exception as error:  # ONNX Runtime's own exception types are not exported
            raise SessionError(f"{path.name} cannot be loaded: {first_line(error)}") from None

    providers = provider_options(provider, device, shapes)
    name, settings = providers[0]
    if cache := settings.get("trt_engine_cache_path"):
        Path(cache).mkdir(parents=True, exist_ok=True)
    try:
        return load(providers)
    except SessionError as error:
        if "graph capture" in str(error):
            # It does not say which nodes are not on the GPU; opened without graphs, it can be asked.
            check_placement(load([(name, {**settings, "enable_cuda_graph": "0"})]), path.name, provider)
        raise


def first_line(error: Exception) -> str:
    """What an error of ONNX Runtime says, without its code and the place in its source."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    return re.sub(r"/onnxruntime_src/.*(?:= [^]]*\]|&\)) ", "", text)


def picture_runner(session: Session) -> PictureRunner:
    """Pictures of uint8 [size, size, 3] as one batch through the image graph."""
    return lambda pictures: session.run({"pixels": np.stack(pictures)})


def text_runner(session: Session, rules: TextRules) -> TextRunner:
    """Texts as one batch, padded by the rules, through the text graph."""
    return lambda texts: session.run(pad(texts, rules))
