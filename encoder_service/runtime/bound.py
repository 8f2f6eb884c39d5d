"""A session fed through fixed buffers, for cards: bound inputs and outputs, a CUDA graph a shape.

Each of two slots has pinned buffers on the host and buffers on the card that all shapes share. While the
card runs what lies in one slot, the next batch is gathered and copied into the other. The runs themselves
take turns: ONNX Runtime keeps captured graphs for each thread (seen in 1.31: a second thread captures them
again), and they all use the same memory for what lies between input and output. So one thread does them.

A graph is captured at the first run of its id, by three runs in one, and replays addresses: bindings are
made once and stay. Capturing forbids other threads to allocate or copy on the card, so it is done before
the session serves, one session after the other.
"""

from __future__ import annotations

import math
import queue
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnxruntime as ort
import structlog
from numpy.typing import NDArray

from encoder_service.bundle import ImageRules, TextRules
from encoder_service.inputs.texts import Tokens, pad
from encoder_service.runtime.buckets import Bucket, Buckets
from encoder_service.runtime.cuda import CudaError, Memory
from encoder_service.runtime.providers import SessionError
from encoder_service.runtime.session import PictureRunner, Pixels, TextRunner, Vectors, first_line

_log = structlog.get_logger(__name__)

SLOTS = 2
_OUTPUT = "embeds"
# What ONNX Runtime says when the card, or what it may take of it, is full.
_OUT_OF_MEMORY = ("Failed to allocate memory", "out of memory", "Available memory of")

Views: TypeAlias = Mapping[str, NDArray[Any]]
# Writes a batch's items into the first rows of the views.
Fill: TypeAlias = Callable[[Bucket, Views], None]


@dataclass(frozen=True, slots=True)
class Feed:
    """An input of the graph: its type, and the shape of one item in a bucket."""

    name: str
    dtype: type[np.generic]
    item: Callable[[Bucket], tuple[int, ...]]

    def shape(self, bucket: Bucket) -> tuple[int, ...]:
        """The whole batch's."""
        return (bucket.batch, *self.item(bucket))

    def bytes(self, bucket: Bucket) -> int:
        """The whole batch's."""
        return math.prod(self.shape(bucket)) * np.dtype(self.dtype).itemsize


def picture_feeds(rules: ImageRules) -> list[Feed]:
    """The image graph's input."""
    return [Feed("pixels", np.uint8, lambda bucket: (rules.size, rules.size, 3))]


def text_feeds(rules: TextRules) -> list[Feed]:
    """The text graph's inputs."""
    names = ["input_ids", "attention_mask"] if rules.attention_mask else ["input_ids"]
    return [Feed(name, np.int64, lambda bucket: (bucket.length,)) for name in names]


class BoundSession:
    """Runs batches of the buckets' shapes. `run` may be called by as many threads as there are slots.

    Close it when it is not needed any more.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        feeds: Sequence[Feed],
        dimension: int,
        buckets: Buckets,
        memory: Memory,
        *,
        graphs: bool,
    ) -> None:
        """Makes the buffers and captures each bucket's graph (`graphs`), or runs it once.

        A bucket that does not fit into memory is left out. Raises SessionError if none is left.
        """
        self.buckets = buckets
        self._runner = ThreadPoolExecutor(1, "bound-session")
        self._slots: list[_Slot] = []
        self._free: queue.SimpleQueue[_Slot] = queue.SimpleQueue()
        try:
            for number in range(SLOTS):
                self._slots.append(_Slot(session, feeds, dimension, buckets, memory, number, graphs))
            self._first_runs()
        except CudaError as error:
            self.close()
            raise SessionError(str(error)) from None
        except BaseException:
            self.close()
            raise
        for slot in self._slots:
            self._free.put(slot)

    def close(self) -> None:
        """Ends the thread and gives the pinned memory back; no run may be under way."""
        self._runner.shutdown()
        for slot in self._slots:
            slot.close()
        self._slots.clear()

    def run(self, items: int, tokens: int, fill: Fill) -> Vectors:
        """float32 [items, dimension] of a batch that `fill` writes. Blocks; waits for a free slot.

        Raises ValueError if no bucket holds so many items of so many tokens.
        """
        bucket = self.buckets.fit(items, tokens)
        slot = self._free.get()
        try:
            slot.load(bucket, items, fill)
            self._runner.submit(slot.run, bucket).result()
            return slot.vectors(items)
        finally:
            self._free.put(slot)

    def _first_runs(self) -> None:
        """The largest first: the arena then has what the smaller ones need."""
        for bucket in sorted(self.buckets.all, key=lambda b: (b.weight, b.batch), reverse=True):
            try:
                for slot in self._slots:
                    slot.load(bucket, 0, lambda bucket, views: None)
                    self._runner.submit(slot.run, bucket).result()
            except Exception as error:  # ONNX Runtime's own exception types are not exported
                if not any(sign in str(error) for sign in _OUT_OF_MEMORY):
                    raise SessionError(
                        f"a batch of {bucket.batch} x {bucket.length} does not run: {first_line(error)}"
                    ) from None
                self.buckets = self.buckets.without(bucket)
                _log.warning("no GPU memory for this batch", items=bucket.batch, tokens=bucket.length)
                if not any(other.length == bucket.length for other in self.buckets.all):
                    raise SessionError(
                        f"the GPU has no memory left for a batch of one ({bucket.length} tokens)"
                    ) from None


class _Slot:
    """The buffers of one batch, on the host and on the card, and what is bound to them."""

    def __init__(
        self,
        session: ort.InferenceSession,
        feeds: Sequence[Feed],
        dimension: int,
        buckets: Buckets,
        memory: Memory,
        number: int,
        graphs: bool,
    ) -> None:
        self._session, self._feeds, self._memory = session, feeds, memory
        self._largest = {feed.name: max(map(feed.bytes, buckets.all)) for feed in feeds}
        self._host = {name: np.zeros(size, np.uint8) for name, size in self._largest.items()}
        rows = max(bucket.batch for bucket in buckets.all)
        self._output = np.zeros((rows, dimension), np.float32)
        self._pinned: list[NDArray[Any]] = []
        buffers: list[NDArray[Any]] = [*self._host.values(), self._output]
        try:
            for array in buffers:
                memory.pin(array)
                self._pinned.append(array)
            self._device = {name: self._allocate((size,), np.uint8) for name, size in self._largest.items()}
            self._device_output = self._allocate((rows, dimension), np.float32)
        except (CudaError, SessionError):
            self.close()
            raise
        self._bindings = {bucket: self._bind(bucket, dimension) for bucket in buckets.all}
        self._options = {
            bucket: _run_options(number * len(buckets.all) + place + 1 if graphs else None)
            for place, bucket in enumerate(buckets.all)
        }

    def close(self) -> None:
        while self._pinned:
            with suppress(CudaError):  # of a card that is broken: the process ends, and with it all of this
                self._memory.unpin(self._pinned.pop())

    def load(self, bucket: Bucket, items: int, fill: Fill) -> None:
        """Writes the batch, repeats its last item up to the bucket's size, copies it to the card."""
        views = {feed.name: self._view(feed, bucket) for feed in self._feeds}
        fill(bucket, views)
        for name, view in views.items():
            if 0 < items < bucket.batch:
                view[items:] = view[items - 1]
            self._memory.upload(view, self._device[name].data_ptr())

    def run(self, bucket: Bucket) -> None:
        self._session.run_with_iobinding(self._bindings[bucket], self._options[bucket])

    def vectors(self, items: int) -> Vectors:
        """The first rows of the output, in memory of their own."""
        rows = self._output[:items]
        self._memory.download(self._device_output.data_ptr(), rows)
        return rows.copy()

    def _view(self, feed: Feed, bucket: Bucket) -> NDArray[Any]:
        flat = self._host[feed.name][: feed.bytes(bucket)]
        return flat.view(feed.dtype).reshape(feed.shape(bucket))

    def _allocate(self, shape: tuple[int, ...], dtype: type[np.generic]) -> ort.OrtValue:
        memory = self._memory
        try:
            return ort.OrtValue.ortvalue_from_shape_and_type(shape, dtype, memory.device_type, memory.device)
        except Exception as error:  # ONNX Runtime's own exception types are not exported
            raise SessionError(f"the GPU has no room for the buffers: {first_line(error)}") from None

    def _bind(self, bucket: Bucket, dimension: int) -> ort.IOBinding:
        binding, where = self._session.io_binding(), (self._memory.device_type, self._memory.device)
        for feed in self._feeds:
            address = self._device[feed.name].data_ptr()
            binding.bind_input(feed.name, *where, feed.dtype, feed.shape(bucket), address)
        address = self._device_output.data_ptr()
        binding.bind_output(_OUTPUT, *where, np.float32, (bucket.batch, dimension), address)
        return binding


def _run_options(graph: int | None) -> ort.RunOptions:
    options = ort.RunOptions()
    if graph is not None:
        options.add_run_config_entry("gpu_graph_id", str(graph))
    return options


def bound_picture_runner(session: BoundSession) -> PictureRunner:
    """Pictures of uint8 [size, size, 3], written straight into the buffer that the card reads."""

    def run(pictures: Sequence[Pixels]) -> Vectors:
        def fill(bucket: Bucket, views: Views) -> None:
            np.stack(pictures, out=views["pixels"][: len(pictures)])

        return session.run(len(pictures), 1, fill)

    return run


def bound_text_runner(session: BoundSession, rules: TextRules) -> TextRunner:
    """Texts, padded by the rules to the length of their bucket."""

    def run(texts: Sequence[Tokens]) -> Vectors:
        def fill(bucket: Bucket, views: Views) -> None:
            for name, array in pad(texts, rules, bucket.length).items():
                views[name][: len(texts)] = array

        return session.run(len(texts), max(len(tokens.ids) for tokens in texts), fill)

    return run
