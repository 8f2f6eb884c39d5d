"""One tower's ONNX Runtime session: the provider that was asked for, bounded threads, vectors out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from encoder_service.bundle import TextRules
from encoder_service.tokens import Tokens, pad

Pixels = NDArray[np.uint8]
Vectors = NDArray[np.float32]
PictureRunner = Callable[[Sequence[Pixels]], Vectors]
TextRunner = Callable[[Sequence[Tokens]], Vectors]

PROVIDERS = {"cpu": "CPUExecutionProvider"}


class SessionError(Exception):
    """The session cannot be opened, or is not what was asked for; one line for the operator."""


class Session(Protocol):
    """What a tower needs from a session; tests put a fake behind it."""

    @property
    def provider(self) -> str:
        """The ONNX Runtime provider that runs the graph."""

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Vectors:
        """Inputs by name, each [batch, ...]; answers float32 [batch, dimension]. Blocks."""


class OnnxSession:
    """A graph loaded into ONNX Runtime. Safe to call from one thread at a time."""

    def __init__(self, path: Path, provider: str, threads: int) -> None:
        """Loads and optimises the graph. Raises SessionError."""
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
        name = PROVIDERS[provider]
        try:
            self._session = ort.InferenceSession(str(path), options, providers=[name])
        except Exception as error:  # ONNX Runtime's own exception types are not exported
            raise SessionError(f"{path.name} cannot be loaded: {error}") from None
        self.provider = self._session.get_providers()[0]
        if self.provider != name:
            raise SessionError(f"{name} was asked for, but ONNX Runtime gave {self.provider}")

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Vectors:  # noqa: D102
        vectors: Vectors = self._session.run(["embeds"], dict(inputs))[0]
        return vectors


def picture_runner(session: Session) -> PictureRunner:
    """Pictures of uint8 [size, size, 3] as one batch through the image graph."""
    return lambda pictures: session.run({"pixels": np.stack(pictures)})


def text_runner(session: Session, rules: TextRules) -> TextRunner:
    """Texts as one batch, padded by the rules, through the text graph."""
    return lambda texts: session.run(pad(texts, rules))
