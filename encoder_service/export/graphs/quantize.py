"""int8 for CPUs: every matrix product with constant weights, one scale a token and one an output column.

ONNX Runtime's own `quantize_dynamic` takes one activation scale for the whole batch, so that a vector
depends on its batch-mates. Here each row (one token of one item) has its own scale, computed from that
row alone: batch-mates do not move a vector, and a token with outliers coarsens no other.

The integer sums are exact on every CPU, so that vectors are the same. x86 without VNNI multiplies uint8
by int8 in pairs of neighbouring inputs, adds each pair in 16 bits and cuts off what does not fit. So a
column's scale follows its largest pair, not its largest weight (255 * 128 fits). Weights of unlike sign
do not add up, and large ones seldom are neighbours: most columns keep nearly 8 bits. ViT-B/32 with random
weights, mean cosine to fp32 on an AMD EPYC with AVX2 and no VNNI, ONNX Runtime 1.32, and speed against
fp32 on its two cores, other work running beside it (images by 8, texts of 7 tokens by 16):

                                         images, texts    with outliers   images  texts
    this                                 0.9995, 0.9994   0.9980, 0.9967   1.8x   1.9x
    8 bits, saturating                   0.9995, 0.9983   0.9964, 0.9922   1.8x   1.9x
    8 bits, exact: uint8 weights here
      (`session.x64quantprecision`)      0.9997, 0.9996   0.9981, 0.9966   1.45x  1.5x
    weights of 7 bits (`reduce_range`)   0.9991, 0.9987   0.9975, 0.9953   same kernels
    activations of 7 bits                0.9994, 0.9991   0.9918, 0.9882   same kernels

(outliers: 4 channels a LayerNorm 20 times as loud and 3 units an MLP 10 times, as trained weights have.)
This loses no R@10 of the golden set; with outliers 1.5 and 0.5 points, exact 8 bits 2.4 and 1.5. With VNNI
(AMD EPYC, two cores) the kernels do not saturate: this 2.8x and 2.4x; `quantize_dynamic` 3.0x and 2.7x, but a
vector with outliers is 0.980 and 0.975 of what it is alone; `MatMulNBits` 1.3x and 1.5x; one fixed scale for
all needs calibration, and outliers set it. int8 in place of uint8 activations ran at a fifth of fp32: no
kernel multiplies int8 by int8 fast. Fusing the residual sums into `SkipLayerNormalization` cost a tenth.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass, RemoveUnusedOpsetsPass

from encoder_service.export import ExportError
from encoder_service.export.graphs.edit import Floats, add_constant, constant_of, save_graph, uint8_source

_RUNTIME = "com.microsoft"  # the domain of ONNX Runtime's own operators

# Activations are uint8 around 128, because the fast kernels multiply uint8 by int8.
_MIDDLE = 128
# The most steps of an activation, of a number in a table, of a pair of weights. Rounding adds at most one
# to a pair, and 255 * (127 + 1) is less than 2**15.
_LARGEST = 127

# A row of zeros has no scale of its own; any will do.
_SMALLEST = 1e-10

# Tables of fewer numbers (positions, probes) are not worth two lookups.
_LARGE_TABLE = 65_536


def quantize(fp32: Path, int8: Path) -> None:
    """Reads a float32 graph and writes its int8 twin. Raises ExportError if there is nothing to quantise."""
    model = ir.load(fp32)
    writer, products = _Writer(model.graph), 0
    for node in list(model.graph):
        if (table := _large_table(node)) is not None:
            writer.replace_lookup(node, table)
        elif (weight := _weight(node)) is not None:
            writer.replace_product(node, weight)
            products += 1
    if not products:
        raise ExportError(f"{fp32.name} has no matrix product with constant weights")
    model.opset_imports[_RUNTIME] = 1
    RemoveUnusedNodesPass()(model)
    RemoveUnusedOpsetsPass()(model)
    save_graph(model, int8)


def per_row(table: Floats) -> tuple[NDArray[np.int8], Floats]:
    """float32 [rows, width] as int8 steps and one scale a row, float32 [rows, 1]."""
    return _steps(table, np.abs(table).max(axis=1, keepdims=True))


def per_column(weight: Floats) -> tuple[NDArray[np.int8], Floats]:
    """float32 [inputs, outputs] as int8 steps and one scale an output, float32 [outputs].

    Inputs 0 and 1, 2 and 3, ... are the pairs whose products with uint8 fit 16 bits together. Activations are
    not negative, so what counts is the most that a pair's weights of one sign add up to.
    """
    rows = np.pad(weight, ((0, len(weight) % 2), (0, 0)))
    pairs = [np.maximum(side, 0).reshape(-1, 2, rows.shape[1]).sum(axis=1) for side in (rows, -rows)]
    return _steps(weight, np.maximum(*pairs).max(axis=0))


def _steps(values: Floats, largest: Floats) -> tuple[NDArray[np.int8], Floats]:
    scales = np.maximum(largest, _SMALLEST) / _LARGEST
    return np.rint(values / scales).astype(np.int8), scales.astype(np.float32)


def _weight(node: ir.Node) -> Floats | None:
    """The constant right side of a product, [inputs, outputs]; None for any other node."""
    if node.domain not in ("", "ai.onnx") or node.op_type not in ("MatMul", "Gemm"):
        return None
    weight = constant_of(node.inputs[1])
    if weight is None or weight.ndim != 2:
        return None
    if node.op_type == "MatMul":
        return weight
    factors = [node.attributes.get_float(name, 1.0) for name in ("alpha", "beta")]
    if factors != [1.0, 1.0] or node.attributes.get_int("transA", False):
        return None
    return weight.T if node.attributes.get_int("transB", False) else weight


def _large_table(node: ir.Node) -> Floats | None:
    """The table of a lookup of its rows, [rows, width]; None for any other node, and for a small one."""
    if node.op_type != "Gather" or node.attributes.get_int("axis", 0) != 0:
        return None
    table = constant_of(node.inputs[0])
    return table if table is not None and table.ndim == 2 and table.size >= _LARGE_TABLE else None


class _Writer:
    """Puts new nodes before the one they replace; activations that products share are quantised once."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._rows: dict[ir.Value, tuple[ir.Value, ir.Value]] = {}
        self._one = self._add("int8.one", np.array(1, np.float32))
        self._step = self._add("int8.step", np.array(1 / _LARGEST, np.float32))
        self._smallest = self._add("int8.smallest", np.array(_SMALLEST, np.float32))
        self._last_axis = self._add("int8.last_axis", np.array([-1], np.int64))
        self._middle = self._add("int8.middle", np.array(_MIDDLE, np.uint8))
        self._zero = self._add("int8.zero", np.array(0, np.uint8))

    def replace_product(self, node: ir.Node, weight: Floats) -> None:
        """x @ w (+ bias) becomes uint8 x int8, times both scales (+ bias)."""
        x, name = node.inputs[0], node.outputs[0].name
        assert x is not None
        steps, scales = per_column(weight)
        w, w_scale = self._add(f"{name}.weight", steps), self._add(f"{name}.scale", scales)
        pixels = uint8_source(x)
        if pixels is not None:  # whole numbers already: nothing is rounded
            result = self._product(node, pixels, w, w_scale, self._zero)
        else:
            rows, row_scale = self._rows.get(x) or self._quantized_rows(node, x, weight.shape[0])
            self._rows[x] = rows, row_scale
            result = self._node(node, "Mul", self._product(node, rows, w, w_scale, self._middle), row_scale)
        if len(node.inputs) > 2:
            result = self._node(node, "Add", result, node.inputs[2])
        self._swap(node, result)

    def replace_lookup(self, node: ir.Node, table: Floats) -> None:
        """table[ids] becomes int8 rows times one scale a row."""
        ids, name = node.inputs[1], node.outputs[0].name
        steps, scales = per_row(table)
        rows = self._node(node, "Gather", self._add(f"{name}.table", steps), ids)
        row_scale = self._node(node, "Gather", self._add(f"{name}.scale", scales), ids)
        self._swap(
            node, self._node(node, "Mul", self._node(node, "Cast", rows, to=ir.DataType.FLOAT), row_scale)
        )

    def _quantized_rows(self, node: ir.Node, x: ir.Value, width: int) -> tuple[ir.Value, ir.Value]:
        """x [..., width] as uint8 around 128, and the scale of each row, float32 [..., 1]."""
        largest = self._node(node, "ReduceMax", self._node(node, "Abs", x), self._last_axis, keepdims=1)
        scale = self._node(node, "Mul", self._node(node, "Max", largest, self._smallest), self._step)
        middle = self._node(node, "Expand", self._middle, self._node(node, "Shape", scale))
        rows = self._node(node, "QuantizeLinear", x, scale, middle, axis=-1, block_size=width)
        return rows, scale

    def _product(
        self, node: ir.Node, rows: ir.Value, weight: ir.Value, scale: ir.Value, middle: ir.Value
    ) -> ir.Value:
        inputs = (rows, weight, self._one, scale, middle)
        return self._node(node, "MatMulIntegerToFloat", *inputs, domain=_RUNTIME)

    def _add(self, name: str, array: NDArray[np.generic]) -> ir.Value:
        return add_constant(self._graph, name, array)

    def _node(
        self, before: ir.Node, op: str, *inputs: ir.Value | None, domain: str = "", **attributes: int
    ) -> ir.Value:
        node = ir.node(op, list(inputs), attributes, domain=domain)
        self._graph.insert_before(before, node)
        return node.outputs[0]

    def _swap(self, node: ir.Node, result: ir.Value) -> None:
        old = node.outputs[0]
        result.type, result.shape = old.type, old.shape
        ir.convenience.replace_all_uses_with(old, result, replace_graph_outputs=True)
        self._graph.remove(node, safe=True)
