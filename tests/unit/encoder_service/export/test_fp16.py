"""fp16 graphs: what goes in and out, what stays in float32, and that the vectors stay where they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from encoder_service.bundle import Precision, graph_file, open_bundle, read_manifest
from encoder_service.export import ExportError
from encoder_service.export.graphs.fp16 import to_fp16
from encoder_service.export.parity import against_fp32, cosines
from encoder_service.export.verify import report
from tests.unit.encoder_service.export.graphs import run, write


def inputs(bundle: Path, tower: str) -> dict[str, np.ndarray]:
    random, manifest = np.random.default_rng(5), read_manifest(bundle)
    if tower == "image":
        size = manifest.image.size
        return {"pixels": random.integers(0, 256, (6, size, size, 3), dtype=np.uint8)}
    length = manifest.text.context_length
    return {"input_ids": random.integers(2, 200, (6, length), dtype=np.int64)}


@pytest.fixture(scope="session", params=["image", "text"])
def tower(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def halved(bundle: Path, tower: str, tmp_path: Path) -> tuple[Path, Path]:
    """A tower of each family, and its fp16 twin."""
    fp32, fp16 = bundle / f"{tower}.fp32.onnx", tmp_path / f"{tower}.fp16.onnx"
    to_fp16(fp32, fp16)
    return fp32, fp16


def test_the_vectors_stay_where_they_were(halved: tuple[Path, Path], bundle: Path, tower: str) -> None:
    fp32, fp16 = halved
    given = inputs(bundle, tower)
    vectors = run(fp16, **given)
    assert vectors.dtype == np.float32
    assert cosines(vectors, run(fp32, **given)).min() > 0.9999
    # The norm is computed in float32: in fp16 the lengths would be off by some 1e-4.
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(6), abs=1e-6)


def test_all_but_the_norm_is_fp16(halved: tuple[Path, Path]) -> None:
    fp32, fp16 = halved
    assert fp16.stat().st_size < 0.55 * fp32.stat().st_size
    graph = onnx.shape_inference.infer_shapes(onnx.load(fp16)).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in [*graph.value_info, *graph.output]}
    wide = {node.op_type for node in graph.node if kinds.get(node.output[0]) == TensorProto.FLOAT}
    assert wide == {"Cast", "Mul", "ReduceSum", "Sqrt", "Clip", "Div"}
    assert sum(node.op_type == "Attention" for node in graph.node) >= 2
    large = [tensor for tensor in graph.initializer if np.prod(tensor.dims) > 1]
    assert {tensor.data_type for tensor in large} <= {TensorProto.FLOAT16, TensorProto.INT64}


def test_residuals_are_one_operator_with_the_normalisation_that_follows(
    halved: tuple[Path, Path],
) -> None:
    counts = [[node.op_type for node in ir.load(path).graph] for path in halved]
    before, after = (
        {kind: found.count(kind) for kind in ("LayerNormalization", "SkipLayerNormalization", "Add")}
        for found in counts
    )
    joined = after["SkipLayerNormalization"]
    assert joined >= 3
    assert before["LayerNormalization"] == after["LayerNormalization"] + joined
    assert before["Add"] == after["Add"] + 2 * joined


def test_nothing_is_left_that_cuda_would_give_to_the_cpu_or_to_cudnn(halved: tuple[Path, Path]) -> None:
    for path in halved:
        # ArgMax of integers has no kernel there, what follows it is copied back; ReduceL2 is cuDNN's.
        assert not {"ArgMax", "GatherElements", "ReduceL2"} & {node.op_type for node in ir.load(path).graph}


def test_dark_pixels_keep_their_digits(bundle: Path, tmp_path: Path) -> None:
    to_fp16(bundle / "image.fp32.onnx", tmp_path / "half.onnx")
    pixels = inputs(bundle, "image")["pixels"] // 32
    cosine = cosines(
        run(tmp_path / "half.onnx", pixels=pixels), run(bundle / "image.fp32.onnx", pixels=pixels)
    )
    assert cosine.min() > 0.9999


WEIGHT = np.ones((2, 2), np.float32)
UNIT = [
    helper.make_node("MatMul", ["x", "w"], ["t"]),
    helper.make_node("ReduceL2", ["t"], ["n"]),
    helper.make_node("Div", ["t", "n"], ["y"]),
]


def test_weights_that_fp16_cannot_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"graph\.onnx: w has weights past 65504"):
        to_fp16(write(tmp_path / "graph.onnx", UNIT, {"w": WEIGHT * 1e5}), tmp_path / "half.onnx")


def test_what_masks_scores_stays_a_mask(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["even"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["even", "mask"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["shares"]),
        helper.make_node("MatMul", ["shares", "w"], ["t"]),
        *UNIT[1:],
    ]
    mask = np.array([0, -np.inf, np.finfo(np.float32).min], np.float32)
    weight = np.array([[3, 4], [9, 1], [1, 9]], np.float32)
    graph = write(tmp_path / "graph.onnx", nodes, {"mask": mask, "w": weight}, TensorProto.UINT8)
    onnx.save(onnx.shape_inference.infer_shapes(onnx.load(graph)), graph)
    to_fp16(graph, tmp_path / "half.onnx")
    x = np.ones((1, 3), np.uint8)
    np.testing.assert_allclose(run(tmp_path / "half.onnx", x=x), [[0.6, 0.8]], atol=1e-3)


@pytest.mark.parametrize(
    "nodes",
    [
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [helper.make_node("MatMul", ["x", "w"], ["t"]), helper.make_node("Div", ["t", "w"], ["y"])],
    ],
)
def test_a_graph_without_a_norm_at_its_end_is_refused(nodes: list[Any], tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="does not end in an L2 norm"):
        to_fp16(write(tmp_path / "graph.onnx", nodes, {"w": WEIGHT}), tmp_path / "half.onnx")


def test_one_vector_that_is_off_fails_fp16_and_not_int8() -> None:
    fp32 = np.eye(40, 64, dtype=np.float32)
    other = fp32.copy()
    other[7, 50] = 0.1  # cosine 0.995
    for precision, passed in (("fp16", False), ("int8", True)):
        checks = against_fp32("image", precision, other, fp32, 2)  # type: ignore[arg-type]
        assert all(check.passed for check in checks) == passed


def test_a_bundle_prefers_fp16_on_gpus_only_where_it_passed_and_all_else_is_the_same_bytes(
    clip_bundle: Path, tmp_path: Path
) -> None:
    from encoder_service.export.build import export_bundle

    precisions: list[Precision] = ["fp32", "fp16"]
    made = export_bundle("clip-vit-tiny-test", tmp_path / "bundle", random_init=True, precisions=precisions)
    others = {name: entry for name, entry in made.files.items() if "fp16" not in name}
    assert others.items() <= open_bundle(clip_bundle).files.items()
    assert (tmp_path / "bundle" / graph_file("text", "fp16")).is_file()
    assert made.precisions == {"image": precisions, "text": precisions}
    assert made.preferred_cpu == {"image": "fp32", "text": "fp32"}
    assert made.preferred_gpu == {"image": "fp16", "text": "fp16"}
    figures = {
        (check.tower, check.metric): check for check in made.parity if check.name == "fp16 against fp32"
    }
    assert figures["image", "minimum cosine"].bound == figures["text", "minimum cosine"].bound == 0.999
    missed = figures["image", "minimum cosine"].model_copy(update={"value": 0.9, "passed": False})
    assert report(made, [missed]).preferred_gpu == {"image": "fp32", "text": "fp16"}
