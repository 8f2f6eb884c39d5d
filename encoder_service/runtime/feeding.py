"""How a tower's batches reach its session: as they come on a CPU, through fixed buffers on a card."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from encoder_service.bundle import Manifest, Tower
from encoder_service.inputs.texts import Tokens
from encoder_service.runtime.bound import (
    SLOTS,
    BoundSession,
    bound_picture_runner,
    bound_text_runner,
    picture_feeds,
    text_feeds,
)
from encoder_service.runtime.buckets import picture_buckets, text_buckets
from encoder_service.runtime.cuda import CudaMemory
from encoder_service.runtime.providers import Shapes
from encoder_service.runtime.session import OnnxSession, Vectors, picture_runner, text_runner

Item = TypeVar("Item")

# Batch sizes that measuring may choose: pictures, short texts.
_CPU_PICTURES, _CPU_TEXTS = (4, 32), (16, 64)
_GPU_PICTURES, _GPU_TEXTS = (16, 512), (64, 1024)
# Tokens of the shortest text's bucket on a card.
_SHORT = 8


@dataclass(frozen=True, slots=True)
class Feeding(Generic[Item]):
    """Runs batches: `run` blocks, `weigh` is an item's share of a batch, `close` ends it.

    `sizes` are the smallest and the largest number of light items that a batch may have at most; past
    `capacity`, where it is not 0, a batch cannot be run. `in_flight` threads may call `run` at once.
    """

    run: Callable[[Sequence[Item]], Vectors]
    weigh: Callable[[Item], int]
    sizes: tuple[int, int]
    capacity: int = 0
    in_flight: int = 1
    close: Callable[[], None] = lambda: None


def feed_pictures(
    session: OnnxSession, manifest: Manifest, asked: int, gpu: int | None
) -> Feeding[NDArray[np.uint8]]:
    """The image tower's, on the card `gpu` or on the CPU. `asked` is the largest batch, 0 = to be measured.

    Raises SessionError if the card cannot run it.
    """
    if gpu is None:
        return Feeding(picture_runner(session), lambda pixels: 1, _CPU_PICTURES)
    smallest, largest = _GPU_PICTURES
    bound = BoundSession(
        session.onnx,
        picture_feeds(manifest.image),
        manifest.dimension,
        picture_buckets(asked or largest),
        CudaMemory(gpu),
        graphs=_captures(session),
    )
    most = bound.buckets.most()
    return Feeding(
        bound_picture_runner(bound),
        lambda pixels: 1,
        (min(smallest, most), most),
        bound.buckets.capacity,
        SLOTS,
        bound.close,
    )


def feed_texts(session: OnnxSession, manifest: Manifest, asked: int, gpu: int | None) -> Feeding[Tokens]:
    """The text tower's; `asked` is the largest batch in tokens."""
    if gpu is None:
        return Feeding(text_runner(session, manifest.text), lambda tokens: len(tokens.ids), _CPU_TEXTS)
    rules, (smallest, largest) = manifest.text, _GPU_TEXTS
    one_length = rules.padding == "max_length"
    tokens_at_once = asked or largest * (rules.context_length if one_length else _SHORT)
    bound = BoundSession(
        session.onnx,
        text_feeds(rules),
        manifest.dimension,
        text_buckets(tokens_at_once, rules.context_length, one_length=one_length),
        CudaMemory(gpu),
        graphs=_captures(session),
    )
    most = bound.buckets.most()
    return Feeding(
        bound_text_runner(bound, rules),
        lambda tokens: bound.buckets.length(len(tokens.ids)),
        (min(smallest, most), most),
        bound.buckets.capacity,
        SLOTS,
        bound.close,
    )


def tensorrt_shapes(manifest: Manifest, tower: Tower) -> Shapes:
    """The shapes that TensorRT is to build a tower's engine for: smallest, usual, largest."""
    if tower == "image":
        square = (manifest.image.size, manifest.image.size, 3)
        return {"pixels": ((1, *square), (64, *square), (_GPU_PICTURES[1], *square))}
    context = manifest.text.context_length
    shortest = context if manifest.text.padding == "max_length" else 1
    bounds = (1, shortest), (64, max(shortest, min(16, context))), (_GPU_TEXTS[1], context)
    return {feed.name: bounds for feed in text_feeds(manifest.text)}


def _captures(session: OnnxSession) -> bool:
    """Captured graphs are the CUDA provider's; TensorRT has a way of its own."""
    return session.provider == "CUDAExecutionProvider"
