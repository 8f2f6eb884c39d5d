"""Fixed buffers and captured graphs: real ones on the CPU, and a stand-in session that keeps the books."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from encoder_service.bundle import graph_file, read_manifest
from encoder_service.inputs.texts import TextInput, Tokens
from encoder_service.runtime import bound as bound_module
from encoder_service.runtime.bound import (
    SLOTS,
    BoundSession,
    Feed,
    bound_picture_runner,
    bound_text_runner,
    picture_feeds,
    text_feeds,
)
from encoder_service.runtime.buckets import Buckets, picture_buckets, text_buckets
from encoder_service.runtime.cuda import CudaError, HostMemory
from encoder_service.runtime.providers import SessionError
from encoder_service.runtime.session import OnnxSession, picture_runner, text_runner


class CountingMemory(HostMemory):
    """The host's, with a count of what is pinned."""

    def __init__(self) -> None:
        self.pinned = 0

    def pin(self, array: NDArray[Any]) -> None:
        self.pinned += 1

    def unpin(self, array: NDArray[Any]) -> None:
        self.pinned -= 1


@contextmanager
def bound(
    onnx: Any, feeds: list[Feed], buckets: Buckets, dimension: int = 16, *, graphs: bool = False
) -> Iterator[BoundSession]:
    memory = CountingMemory()
    session = BoundSession(onnx, feeds, dimension, buckets, memory, graphs=graphs)
    assert memory.pinned == SLOTS * (len(feeds) + 1)
    try:
        yield session
    finally:
        session.close()
        assert memory.pinned == 0


def pictures(count: int, size: int = 8) -> list[NDArray[np.uint8]]:
    return list(np.random.default_rng(count).integers(0, 256, (count, size, size, 3), dtype=np.uint8))


def text(length: int) -> Tokens:
    return Tokens((1, *(3 + i % 8 for i in range(length - 2)), 2), TextInput(length))


@pytest.fixture
def toy_image(toy_bundle: Path) -> OnnxSession:
    return OnnxSession(toy_bundle / graph_file("image", "fp32"), "cpu", threads=1)


def test_pictures_come_out_as_from_a_plain_run(toy_bundle: Path, toy_image: OnnxSession) -> None:
    feeds = picture_feeds(read_manifest(toy_bundle).image)
    plain = picture_runner(toy_image)
    with bound(toy_image.onnx, feeds, picture_buckets(24)) as session:
        run = bound_picture_runner(session)
        for count in [*range(1, 25), 1]:
            given = pictures(count)
            assert run(given) == pytest.approx(plain(given), abs=1e-6)


def test_texts_come_out_as_from_a_plain_run(toy_bundle: Path) -> None:
    manifest = read_manifest(toy_bundle)
    onnx = OnnxSession(toy_bundle / graph_file("text", "fp32"), "cpu", threads=1)
    plain = text_runner(onnx, manifest.text)
    buckets = text_buckets(96, manifest.text.context_length)
    with bound(onnx.onnx, text_feeds(manifest.text), buckets) as session:
        run = bound_text_runner(session, manifest.text)
        for lengths in ([2], [12], [3, 5, 2], [8] * 11, [9, 12], [2] * 7):
            texts = [text(length) for length in lengths]
            assert run(texts) == pytest.approx(plain(texts), abs=1e-6)


def test_a_vector_handed_out_is_not_touched_by_later_batches(
    toy_bundle: Path, toy_image: OnnxSession
) -> None:
    with bound(toy_image.onnx, picture_feeds(read_manifest(toy_bundle).image), picture_buckets(4)) as session:
        run = bound_picture_runner(session)
        first = run(pictures(3))
        kept = first.copy()
        for _ in range(2 * SLOTS):
            run(pictures(4))
        assert (first == kept).all()


def test_two_threads_get_their_own_vectors(toy_bundle: Path, toy_image: OnnxSession) -> None:
    feeds, plain = picture_feeds(read_manifest(toy_bundle).image), picture_runner(toy_image)
    given = [pictures(count) for count in range(1, 17)]
    expected = [plain(batch) for batch in given]
    with (
        bound(toy_image.onnx, feeds, picture_buckets(16)) as session,
        ThreadPoolExecutor(SLOTS) as callers,
    ):
        for got, wanted in zip(
            callers.map(bound_picture_runner(session), given * 5), expected * 5, strict=True
        ):
            assert got == pytest.approx(wanted, abs=1e-6)


class Binding:
    """What is bound: address and shape by name."""

    def __init__(self) -> None:
        self.inputs: dict[str, tuple[int, tuple[int, ...]]] = {}
        self.output: tuple[int, tuple[int, ...]] = (0, ())

    def bind_input(self, name: str, device: str, number: int, dtype: Any, shape: Any, address: int) -> None:
        self.inputs[name] = address, tuple(shape)

    def bind_output(self, name: str, device: str, number: int, dtype: Any, shape: Any, address: int) -> None:
        self.output = address, tuple(shape)


class StandIn:
    """A session that notes each run's binding, graph and thread; `fails` may raise for a batch size."""

    def __init__(self, fails: Callable[[int], None] = lambda batch: None) -> None:
        self.fails = fails
        self.runs: list[tuple[Binding, str, int]] = []
        self.at_once = 0

    def io_binding(self) -> Binding:
        return Binding()

    def run_with_iobinding(self, binding: Binding, options: Any) -> None:
        self.at_once += 1
        assert self.at_once == 1
        try:
            graph = options.get_run_config_entry("gpu_graph_id")
        except RuntimeError:
            graph = ""
        self.runs.append((binding, graph, threading.get_ident()))
        self.at_once -= 1
        self.fails(binding.output[1][0])


FEED = [Feed("x", np.int64, lambda bucket: (bucket.length,))]


def test_each_shape_of_each_slot_has_one_graph_whose_addresses_never_change() -> None:
    onnx = StandIn()
    buckets = text_buckets(64, 32)
    with bound(onnx, FEED, buckets, graphs=True) as session:
        prepared = len(onnx.runs)
        assert prepared == SLOTS * len(buckets.all)
        for items, tokens in ((1, 8), (2, 20), (8, 8), (2, 32)) * 3:
            session.run(items, tokens, lambda bucket, views: None)
        known: dict[str, tuple[Any, ...]] = {}
        for binding, graph, _ in onnx.runs:
            fixed = (binding.inputs["x"], binding.output)
            assert known.setdefault(graph, fixed) == fixed
        assert len(known) == prepared  # nothing is captured once it serves
        assert "" not in known
        # All of a slot's graphs read the same buffer.
        assert (
            len({address for binding, _, _ in onnx.runs for address, _ in binding.inputs.values()}) == SLOTS
        )


def test_the_largest_shape_runs_first_and_all_on_one_thread() -> None:
    onnx = StandIn()
    with bound(onnx, FEED, picture_buckets(64), graphs=True) as session:
        sizes = [binding.output[1][0] for binding, _, _ in onnx.runs]
        assert sizes == sorted(sizes, reverse=True)
        with ThreadPoolExecutor(4) as callers:
            list(callers.map(lambda n: session.run(n, 1, lambda bucket, views: None), range(1, 40)))
    assert len({thread for _, _, thread in onnx.runs}) == 1


def test_without_graphs_no_id_is_given() -> None:
    onnx = StandIn()
    with bound(onnx, FEED, picture_buckets(2)):
        assert {graph for _, graph, _ in onnx.runs} == {""}


def test_a_batch_is_filled_up_with_its_last_item() -> None:
    seen = []

    class Watching(CountingMemory):
        def upload(self, source: NDArray[Any], address: int) -> None:
            seen.append(source.copy())

    session = BoundSession(StandIn(), FEED, 4, picture_buckets(8), Watching(), graphs=False)

    def fill(bucket: Any, views: Any) -> None:
        views["x"][:3, 0] = [5, 6, 7]

    session.run(3, 1, fill)
    session.close()
    assert seen[-1].ravel().tolist() == [5, 6, 7, 7]


def test_the_next_batch_is_gathered_while_one_runs() -> None:
    onnx = StandIn()
    filled: list[str] = []
    both = threading.Event()

    def fill(bucket: Any, views: Any) -> None:
        filled.append("")
        if len(filled) == 2:
            both.set()

    def runs(batch: int) -> None:
        assert both.wait(60), "the second waits for the end of the first"

    with bound(onnx, FEED, picture_buckets(1)) as session, ThreadPoolExecutor(SLOTS) as callers:
        onnx.fails = runs
        list(callers.map(lambda _: session.run(1, 1, fill), range(2)))


def out_of_memory(past: int) -> Callable[[int], None]:
    def fails(batch: int) -> None:
        if batch > past:
            raise RuntimeError("BFCArena: Failed to allocate memory for requested buffer of size 1073741824")

    return fails


def test_shapes_that_do_not_fit_into_memory_are_left_out() -> None:
    with bound(StandIn(out_of_memory(24)), FEED, picture_buckets(64)) as session:
        assert session.buckets.most() == session.buckets.capacity == 24
        assert session.run(20, 1, lambda bucket, views: None).shape == (20, 16)
        with pytest.raises(ValueError, match="no bucket"):
            session.run(25, 1, lambda bucket, views: None)


def refuses(onnx: StandIn) -> str:
    memory = CountingMemory()
    with pytest.raises(SessionError) as caught:
        BoundSession(onnx, FEED, 4, picture_buckets(4), memory, graphs=True)
    assert memory.pinned == 0
    return str(caught.value)


def test_a_card_without_room_for_one_item_is_told() -> None:
    assert refuses(StandIn(out_of_memory(0))) == "the GPU has no memory left for a batch of one (1 tokens)"


def test_any_other_error_of_a_first_run_is_told_with_its_shape() -> None:
    def fails(batch: int) -> None:
        raise RuntimeError("CUDA failure 700: an illegal memory access")

    assert (
        refuses(StandIn(fails)) == "a batch of 4 x 1 does not run: CUDA failure 700: an illegal memory access"
    )


def test_memory_that_cannot_be_pinned_is_told() -> None:
    class Refusing(CountingMemory):
        def pin(self, array: NDArray[Any]) -> None:
            if self.pinned == 3:
                raise CudaError("cudaHostRegister on GPU 0 gives error 2")
            super().pin(array)

    memory = Refusing()
    with pytest.raises(SessionError, match=r"^cudaHostRegister"):
        BoundSession(StandIn(), FEED, 4, picture_buckets(4), memory, graphs=True)
    assert memory.pinned == 0


def test_a_card_that_is_broken_is_let_go_of_all_the_same() -> None:
    class Broken(CountingMemory):
        def unpin(self, array: NDArray[Any]) -> None:
            super().unpin(array)
            raise CudaError("cudaHostUnregister on GPU 0 gives error 700")

    memory = Broken()
    BoundSession(StandIn(), FEED, 4, picture_buckets(4), memory, graphs=True).close()
    assert memory.pinned == 0


def test_buffers_for_which_the_card_has_no_room_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise RuntimeError("[ONNXRuntimeError] : 1 : FAIL : CUDA failure 2: out of memory")

    monkeypatch.setattr(bound_module.ort.OrtValue, "ortvalue_from_shape_and_type", full)
    assert refuses(StandIn()) == "the GPU has no room for the buffers: CUDA failure 2: out of memory"


def test_a_batch_that_fails_gives_its_slot_back() -> None:
    with bound(StandIn(), FEED, picture_buckets(4)) as session:

        def broken(bucket: Any, views: Any) -> None:
            raise OSError("no picture")

        for _ in range(3 * SLOTS):
            with pytest.raises(OSError, match="no picture"):
                session.run(1, 1, broken)
        assert session.run(1, 1, lambda bucket, views: None).shape == (1, 16)
