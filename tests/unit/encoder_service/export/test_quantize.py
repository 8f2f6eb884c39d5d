from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from encoder_service.bundle import graph_file, open_bundle
from encoder_service.export import ExportError, golden
from encoder_service.export.parity import cosines
from encoder_service.export.quantize import per_column, per_row, quantize
from encoder_service.inputs.texts import TextTokenizer
from encoder_service.runtime.session import OnnxSession, plain_images, plain_texts

RNG = np.random.default_rng(0)


def write(
    path: Path, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], kind: int = TensorProto.FLOAT
) -> Path:
    """A graph from `x` [rows, columns] to `y`."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", kind, ["rows", None])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    onnx.save(model, path)
    return path


def run(path: Path, x: np.ndarray) -> np.ndarray:
    return np.asarray(ort.InferenceSession(path).run(None, {"x": x})[0])


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def largest_sum_of_two_products(weight: np.ndarray) -> int:
    """What x86 CPUs without VNNI add in 16 bits: neighbours in a column, by the worst uint8 numbers."""
    pairs = np.pad(weight.astype(int), ((0, len(weight) % 2), (0, 0))).reshape(-1, 2, weight.shape[1])
    one_sign = [np.maximum(side, 0).sum(axis=1).max() for side in (pairs, -pairs)]
    return 255 * int(max(one_sign))


def floats(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def test_a_product_keeps_its_value(tmp_path: Path) -> None:
    weight, x = floats(64, 32), floats(5, 64)
    fp32 = write(tmp_path / "fp32.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": weight})
    quantize(fp32, tmp_path / "int8.onnx")
    assert cosines(run(tmp_path / "int8.onnx", x), x @ weight).min() > 0.999
    assert "MatMul" not in operators(tmp_path / "int8.onnx")


@pytest.mark.parametrize("transposed", [0, 1])
def test_a_gemm_keeps_its_bias(tmp_path: Path, transposed: int) -> None:
    weight, bias, x = floats(64, 32), 100 * floats(32), floats(5, 64)
    stored = np.ascontiguousarray(weight.T) if transposed else weight
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=transposed)
    fp32 = write(tmp_path / "fp32.onnx", [node], {"w": stored, "b": bias})
    quantize(fp32, tmp_path / "int8.onnx")
    assert cosines(run(tmp_path / "int8.onnx", x) - bias, x @ weight).min() > 0.999


def test_an_outlier_coarsens_its_own_row_only(tmp_path: Path) -> None:
    weight, x = floats(64, 32), floats(5, 64)
    fp32 = write(tmp_path / "fp32.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": weight})
    quantize(fp32, tmp_path / "int8.onnx")
    loud = x.copy()
    loud[0, 0] = 10_000
    np.testing.assert_array_equal(run(tmp_path / "int8.onnx", loud)[1:], run(tmp_path / "int8.onnx", x)[1:])


def test_a_row_of_zeros_gives_zeros(tmp_path: Path) -> None:
    fp32 = write(
        tmp_path / "fp32.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": floats(64, 32)}
    )
    quantize(fp32, tmp_path / "int8.onnx")
    np.testing.assert_array_equal(run(tmp_path / "int8.onnx", np.zeros((2, 64), np.float32)), 0)


def test_pixels_are_not_rounded_at_all(tmp_path: Path) -> None:
    # Weights that int8 holds exactly: what is left is the error of the activations, and there is none.
    weight = RNG.integers(-63, 64, (48, 8)).astype(np.float32)
    weight[:2] = [[127], [0]]
    nodes = [helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT)]
    nodes.append(helper.make_node("MatMul", ["f", "w"], ["y"]))
    fp32 = write(tmp_path / "fp32.onnx", nodes, {"w": weight}, TensorProto.UINT8)
    quantize(fp32, tmp_path / "int8.onnx")
    x = RNG.integers(0, 256, (5, 48), dtype=np.uint8)
    np.testing.assert_array_equal(run(tmp_path / "int8.onnx", x), x.astype(np.float32) @ weight)
    assert "QuantizeLinear" not in operators(tmp_path / "int8.onnx")


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
    nodes = [helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT)]
    nodes.append(helper.make_node("MatMul", ["f", "w"], ["y"]))
    fp32 = write(tmp_path / "fp32.onnx", nodes, {"w": weight}, TensorProto.UINT8)
    quantize(fp32, tmp_path / "int8.onnx")
    for x in (np.full((rows, inputs), 255, np.uint8), RNG.choice([0, 254, 255], (rows, inputs)).astype("u1")):
        np.testing.assert_array_equal(run(tmp_path / "int8.onnx", x), x.astype(np.float64) @ np.rint(weight))


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
    fp32 = write(
        tmp_path / "fp32.onnx",
        [
            helper.make_node("Gather", ["t", "x"], ["g"]),
            helper.make_node("MatMul", ["g", "w"], ["y"]),
        ],
        {"t": table, "w": np.eye(64, dtype=np.float32)},
        TensorProto.INT64,
    )
    quantize(fp32, tmp_path / "int8.onnx")
    got = run(tmp_path / "int8.onnx", x).reshape(-1, 64)
    assert cosines(got, table[x].reshape(-1, 64)).min() > 0.999
    assert (tmp_path / "int8.onnx").stat().st_size < fp32.stat().st_size / 3


def test_products_of_two_activations_stay_as_they_are(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Transpose", ["h"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["h", "t"], ["y"]),
    ]
    fp32 = write(tmp_path / "fp32.onnx", nodes, {"w": floats(64, 32)})
    quantize(fp32, tmp_path / "int8.onnx")
    assert operators(tmp_path / "int8.onnx").count("MatMul") == 1


def test_a_graph_without_such_products_is_refused(tmp_path: Path) -> None:
    fp32 = write(tmp_path / "fp32.onnx", [helper.make_node("Relu", ["x"], ["y"])], {})
    with pytest.raises(ExportError, match="no matrix product"):
        quantize(fp32, tmp_path / "int8.onnx")


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


def test_batch_mates_do_not_move_an_int8_image(bundle: Path) -> None:
    images = golden.pixels(golden.photos()[:3], open_bundle(bundle).image)
    run_batch = plain_images(OnnxSession(bundle / graph_file("image", "int8"), "cpu", 2)).run
    together = run_batch(list(images))
    alone = np.concatenate([run_batch([image]) for image in images])
    assert cosines(together, alone).min() > 0.999999


@given(st.lists(st.integers(0, 199), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_batch_mates_do_not_move_an_int8_text(clip_bundle: Path, chosen: list[int]) -> None:
    manifest = open_bundle(clip_bundle)
    texts = [text for pair in golden.text_pairs() for text in pair]
    tokens = TextTokenizer(clip_bundle, manifest.text).encode([texts[i] for i in chosen])
    run_batch = plain_texts(
        OnnxSession(clip_bundle / graph_file("text", "int8"), "cpu", 1), manifest.text
    ).run
    alone = np.concatenate([run_batch([text]) for text in tokens])
    assert cosines(run_batch(tokens), alone).min() > 0.9999
