from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from encoder_service.bundle import graph_file
from encoder_service.export import ExportError
from encoder_service.export.graphs.quantize import per_column, per_row, quantize
from encoder_service.export.parity import cosines
from tests.unit.encoder_service.export.graphs import run, write

RNG = np.random.default_rng(0)


PRODUCT = helper.make_node("MatMul", ["x", "w"], ["y"])
OF_PIXELS = [
    helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
    helper.make_node("MatMul", ["f", "w"], ["y"]),
]


def quantized(
    folder: Path,
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    kind: int = TensorProto.FLOAT,
) -> Path:
    """The int8 twin of a graph."""
    quantize(write(folder / "fp32.onnx", nodes, constants, kind), folder / "int8.onnx")
    return folder / "int8.onnx"


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def largest_sum_of_two_products(weight: np.ndarray) -> int:
    """What x86 CPUs without VNNI add in 16 bits: neighbours in a column, by the worst uint8 numbers."""
    pairs = np.pad(weight.astype(int), ((0, len(weight) % 2), (0, 0))).reshape(-1, 2, weight.shape[1])
    one_sign = [np.maximum(side, 0).sum(axis=1).max() for side in (pairs, -pairs)]
    return 255 * int(max(one_sign))


def floats(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def test_a_product_keeps_its_value_and_an_outlier_coarsens_its_own_row_only(tmp_path: Path) -> None:
    weight, x = floats(64, 32), floats(5, 64)
    int8 = quantized(tmp_path, [PRODUCT], {"w": weight})
    assert cosines(run(int8, x=x), x @ weight).min() > 0.999
    assert "MatMul" not in operators(int8)
    loud = x.copy()
    loud[0, 0] = 10_000
    np.testing.assert_array_equal(run(int8, x=loud)[1:], run(int8, x=x)[1:])
    np.testing.assert_array_equal(run(int8, x=np.zeros((2, 64), np.float32)), 0)


@pytest.mark.parametrize("transposed", [0, 1])
def test_a_gemm_keeps_its_bias(tmp_path: Path, transposed: int) -> None:
    weight, bias, x = floats(64, 32), 100 * floats(32), floats(5, 64)
    stored = np.ascontiguousarray(weight.T) if transposed else weight
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=transposed)
    int8 = quantized(tmp_path, [node], {"w": stored, "b": bias})
    assert cosines(run(int8, x=x) - bias, x @ weight).min() > 0.999


def test_pixels_are_not_rounded_at_all(tmp_path: Path) -> None:
    # Weights that int8 holds exactly: what is left is the error of the activations, and there is none.
    weight = RNG.integers(-63, 64, (48, 8)).astype(np.float32)
    weight[:2] = [[127], [0]]
    int8 = quantized(tmp_path, OF_PIXELS, {"w": weight}, TensorProto.UINT8)
    x = RNG.integers(0, 256, (5, 48), dtype=np.uint8)
    np.testing.assert_array_equal(run(int8, x=x), x.astype(np.float32) @ weight)
    assert "QuantizeLinear" not in operators(int8)


@pytest.mark.parametrize("rows", [1, 2, 5, 16])
@pytest.mark.parametrize(("inputs", "outputs"), [(2, 1), (7, 3), (48, 17), (769, 64), (1536, 40)])
def test_the_largest_products_are_summed_exactly(
    tmp_path: Path, rows: int, inputs: int, outputs: int
) -> None:
    """The runtime's own kernel at the limit: fails where this CPU pairs inputs in another way."""
    pairs = RNG.choice(
        [[127, 0], [63.5, 63.5], [-63.5, -63.5], [1, -127], [127, -127]], ((inputs + 1) // 2, outputs)
    )
    weight = pairs.transpose(0, 2, 1).reshape(-1, outputs)[:inputs].astype(np.float32)
    weight[:2] = 63.5  # a pair that sets the scale to 1 and is rounded up to twice 64
    int8 = quantized(tmp_path, OF_PIXELS, {"w": weight}, TensorProto.UINT8)
    for x in (np.full((rows, inputs), 255, np.uint8), RNG.choice([0, 254, 255], (rows, inputs)).astype("u1")):
        np.testing.assert_array_equal(run(int8, x=x), x.astype(np.float64) @ np.rint(weight))


def test_no_product_of_a_bundle_can_saturate(bundle: Path) -> None:
    """On any CPU: by the graphs' numbers, not by running them."""
    for tower in ("image", "text"):
        graph = onnx.load(bundle / graph_file(tower, "int8")).graph  # type: ignore[arg-type]
        constants = {weight.name: numpy_helper.to_array(weight) for weight in graph.initializer}
        products = [node for node in graph.node if node.op_type == "MatMulIntegerToFloat"]
        assert products
        for node in products:
            weight = constants[node.input[1]]
            assert weight.dtype == np.int8
            assert largest_sum_of_two_products(weight) < 2**15


def test_a_large_table_is_stored_as_int8(tmp_path: Path) -> None:
    table, x = floats(2000, 64), np.array([[1, 5], [1999, 0]])
    nodes = [helper.make_node("Gather", ["t", "x"], ["g"]), helper.make_node("MatMul", ["g", "w"], ["y"])]
    constants = {"t": table, "w": np.eye(64, dtype=np.float32)}
    int8 = quantized(tmp_path, nodes, constants, TensorProto.INT64)
    assert cosines(run(int8, x=x).reshape(-1, 64), table[x].reshape(-1, 64)).min() > 0.999
    assert int8.stat().st_size < (tmp_path / "fp32.onnx").stat().st_size / 3


def test_products_of_two_activations_stay_as_they_are(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Transpose", ["h"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["h", "t"], ["y"]),
    ]
    int8 = quantized(tmp_path, nodes, {"w": floats(64, 32)})
    assert operators(int8).count("MatMul") == 1


def test_a_graph_without_such_products_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no matrix product"):
        quantized(tmp_path, [helper.make_node("Relu", ["x"], ["y"])], {})


@given(st.integers(0, 2**32 - 1), st.floats(1e-6, 1e6), st.integers(1, 30))
@settings(max_examples=50)
def test_steps_are_at_most_half_a_scale_off_and_pairs_fit_16_bits(seed: int, size: float, rows: int) -> None:
    weight = (size * np.random.default_rng(seed).normal(size=(rows, 7))).astype(np.float32)
    weight[:, 3] = 0
    steps, scales = per_column(weight)
    assert (np.abs(steps * scales - weight) <= 0.501 * scales).all()
    assert largest_sum_of_two_products(steps) < 2**15
    assert np.abs(steps[:, 3]).max() == 0
    # No coarser than it must be: in each column a pair uses what there is.
    for column in (0, 1, 2, 4, 5, 6):
        assert largest_sum_of_two_products(steps[:, [column]]) >= 255 * 126


def test_a_lone_large_weight_keeps_8_bits() -> None:
    weight = np.array([[1.0], [-0.5], [0.25], [0.25]], np.float32)
    steps, scales = per_column(weight)
    assert steps.ravel().tolist() == [127, -64, 32, 32]
    assert scales == pytest.approx(1 / 127)


def test_tables_keep_8_bits() -> None:
    steps, scales = per_row(np.array([[1.0, 1.0], [0.0, -3.0], [0.0, 0.0]], np.float32))
    assert steps.tolist() == [[127, 127], [0, -127], [0, 0]]
    assert scales[:2].ravel() == pytest.approx([1 / 127, 3 / 127])
