"""A real ONNX Runtime session, the known answer, and the search for the best batch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from encoder_service.bundle import KnownAnswer, Manifest, Precision, encode_vector, graph_file, read_manifest
from encoder_service.runtime import session as session_module
from encoder_service.runtime.session import (
    OnnxSession,
    SessionError,
    best_batch,
    check_known_answer,
    first_line,
)


def test_a_file_that_is_no_graph_is_named_without_its_folder(tmp_path: Path) -> None:
    (tmp_path / "image.fp32.onnx").write_bytes(b"not a graph")
    with pytest.raises(SessionError, match=r"^image\.fp32\.onnx cannot be loaded"):
        OnnxSession(tmp_path / "image.fp32.onnx", "cpu", threads=1)


def test_a_session_on_a_provider_that_the_wheel_has_not_does_not_open(toy_bundle: Path) -> None:
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(SessionError, match="CUDAExecutionProvider was asked for"),
    ):
        OnnxSession(toy_bundle / graph_file("image", "fp32"), "cuda", threads=1)


def test_a_transposed_product_in_fp16_opens_on_cpus(tmp_path: Path) -> None:
    """ONNX Runtime itself dies of it, process and all (onnxruntime#28392); OpenCLIP's text towers have it."""
    nodes = [
        helper.make_node("Cast", ["x"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("Transpose", ["half"], ["turned"], perm=[1, 0, 2]),
        helper.make_node("MatMul", ["turned", "w"], ["product"]),
        helper.make_node("Cast", ["product"], ["embeds"], to=TensorProto.FLOAT),
    ]
    shapes = {"x": ["batch", "sequence", 2], "embeds": ["sequence", "batch", 2]}
    x, embeds = (helper.make_tensor_value_info(n, TensorProto.FLOAT, dims) for n, dims in shapes.items())
    weight = numpy_helper.from_array(np.ones((2, 2), np.float16), "w")
    graph = helper.make_graph(nodes, "graph", [x], [embeds], [weight])
    path = tmp_path / graph_file("text", "fp16")
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10), path)
    command = f"from {OnnxSession.__module__} import *; OnnxSession(Path({str(path)!r}), 'cpu', 1)"
    subprocess.run([sys.executable, "-c", command], check=True, timeout=60)


def test_an_error_is_told_without_its_place_in_onnx_runtimes_source() -> None:
    error = Exception(
        "[ONNXRuntimeError] : 1 : FAIL : Exception during initialization: /onnxruntime_src/onnxruntime/core/"
        "cuda_call.cc:105 void onnxruntime::CudaCall(ERRTYPE) [with ERRTYPE = cudnnStatus_t; bool THRW = 1] "
        "cuDNN is unavailable\nmore"
    )
    assert first_line(error) == "Exception during initialization: cuDNN is unavailable"


def unit(*values: float) -> NDArray[np.float32]:
    vector = np.array(values, dtype=np.float32)
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


@pytest.fixture
def known(toy_bundle: Path) -> Manifest:
    """With an answer of three numbers."""
    vector = encode_vector(unit(1, 2, 3))
    answer = KnownAnswer(text="a cat", text_vector=vector, image_vector=vector)
    return read_manifest(toy_bundle).model_copy(update={"known_answer": answer})


def test_the_known_answer_is_met(known: Manifest) -> None:
    check_known_answer(known, "image", "fp32", unit(1, 2, 3))
    check_known_answer(known, "image", "int8", unit(1, 2, 3.3))


@pytest.mark.parametrize(
    ("vector", "precision"),
    [
        (unit(1, 2, 3.3), "fp32"),
        (unit(3, 2, 1), "int8"),
        (np.full(3, np.nan, np.float32), "fp32"),
        (np.zeros(3, np.float32), "fp32"),
        (unit(1, 2), "fp32"),
    ],
)
def test_another_answer_is_an_error(
    vector: NDArray[np.float32], precision: Precision, known: Manifest
) -> None:
    with pytest.raises(SessionError, match="the text graph"):
        check_known_answer(known, "text", precision, vector)


class Machine:
    """A session that takes a fixed time and some for each item, by a clock that only its runs move."""

    def __init__(self, fixed_s: float, each_s: float, late: dict[int, float] | None = None) -> None:
        self.fixed_s, self.each_s = fixed_s, each_s
        self.late = late or {}  # seconds more that a run takes, by its number
        self.runs = 0
        self.now = 0.0

    def __call__(self, items: Sequence[int]) -> NDArray[np.float32]:
        self.runs += 1
        self.now += self.fixed_s + self.each_s * len(items) + self.late.get(self.runs, 0.0)
        return np.zeros((len(items), 2), dtype=np.float32)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`best_batch` by the machine's clock."""

    def found(machine: Machine, smallest: int, largest: int, budget_s: float) -> int:
        monkeypatch.setattr(session_module, "time", SimpleNamespace(perf_counter=lambda: machine.now))
        return best_batch(machine, 0, smallest, largest, budget_s)

    return found


@pytest.mark.parametrize(
    ("machine", "smallest", "largest", "budget_s", "best"),
    [
        (Machine(0.0, 0.004), 1, 32, 0.4, 1),  # a larger one brings nothing
        (Machine(0.01, 0.0), 1, 16, 0.4, 16),  # a run costs much, an item little
        (Machine(0.0, 0.01), 4, 8, 0.1, 4),  # never less than handing over is worth
        (Machine(0.01, 0.0, late={5: 0.05}), 1, 8, 0.3, 8),  # one slow run, the first of 8, does not decide
    ],
)
def test_the_batch_is_the_one_that_does_most(
    found: Callable[..., int], machine: Machine, smallest: int, largest: int, budget_s: float, best: int
) -> None:
    assert found(machine, smallest, largest, budget_s) == best


def test_the_search_keeps_to_its_budget_on_a_slow_machine(found: Callable[..., int]) -> None:
    machine = Machine(0.05, 0.02)
    found(machine, smallest=1, largest=64, budget_s=0.3)
    assert machine.now <= 0.07 + 0.3, "a run before the budget begins, and the budget"
