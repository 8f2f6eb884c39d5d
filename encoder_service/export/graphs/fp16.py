"""fp16 for GPUs: all of a tower in half precision, its last step, the L2 norm, in float32.

What goes in and comes out stays as it is: uint8 pixels or int64 ids, float32 vectors. Two things are kept
from losing digits: lengths are computed in float32, because 512 squares of a vector that is not yet of
length 1 can pass 65504; and the first product, whose weights carry scale and normalisation of pixels from
0 to 255 and would lie among fp16's subnormal numbers, gets weights 128 times as large and pixels a 128th.
Powers of two change no digit.

A sum that a LayerNormalization follows becomes one operator with it and with the bias before it: a GPU
spends on such steps what they read and write, and ONNX Runtime does not join them where the sum is needed
again, as in every layer here. (On CPUs, in fp32 and int8, joining them cost a tenth.)

Attention stays the ONNX operator `Attention`. In onnxruntime-gpu 1.31 the CUDA provider has kernels for it of
its own, beside those of `com.microsoft.MultiHeadAttention`, and takes them in this order: flash attention
(fp16, no mask, compute capability 8.0, heads of at most 256), memory-efficient attention, plain products
(core/providers/cuda/llm/attention.cc). What it takes it logs at level VERBOSE. ViT-B/32 under that wheel,
CUDA's libraries replaced by stand-ins that say they are a card of 9.0: flash in all 12 layers of the image
tower and in 11 of the text tower, and memory-efficient in its last, whose one query has a mask. The kernels
themselves have not run; `make bench-gpu` lists those that do.
"""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass, RemoveUnusedOpsetsPass

from encoder_service.export import ExportError
from encoder_service.export.graphs.edit import add_constant, constant_of, save_graph, uint8_source

_FLOAT, _HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16
_RUNTIME = "com.microsoft"
_LARGEST = float(np.finfo(np.float16).max)
# What is added to scores that are masked out: infinity, or the largest number.
_MASKED = float(np.finfo(np.float32).max)

# Pixels of 255 become 2 at most, and weights of 1e-4 numbers with all of fp16's digits.
_PIXEL_SCALE = 128.0


def to_fp16(fp32: Path, fp16: Path) -> None:
    """Reads a float32 graph and writes its fp16 twin.

    Raises ExportError if the graph does not end in an L2 norm, or if a weight is too large for fp16.
    """
    model = ir.load(fp32)
    graph = model.graph
    tail = _norm(graph, fp32.name)
    _scale_pixels(graph)
    _join_sums(graph)
    _constants_to_fp16(graph, tail, fp32.name)
    for node in graph:
        if node in tail:
            continue
        if node.op_type == "Cast" and node.attributes.get_int("to", 0) == _FLOAT:
            node.attributes["to"] = ir.AttrInt64("to", _HALF)
        for value in node.outputs:
            if value.dtype == _FLOAT:
                value.dtype = _HALF
    _widen(graph, tail)
    model.opset_imports[_RUNTIME] = 1
    RemoveUnusedNodesPass()(model)
    RemoveUnusedOpsetsPass()(model)
    save_graph(model, fp16)


def _norm(graph: ir.Graph, name: str) -> set[ir.Node]:
    """The nodes that make the unit vectors: the last division and what leads from its dividend to it."""
    last = graph.outputs[0].producer()
    if last is None or last.op_type != "Div" or last.inputs[0] is None:
        raise ExportError(f"{name} does not end in an L2 norm")
    vectors = last.inputs[0]
    tail, open_ends = {last}, [last.inputs[1]]
    while open_ends:
        value = open_ends.pop()
        node = value.producer() if value is not None else None
        if value is vectors or node is None or node in tail:
            continue
        tail.add(node)
        open_ends += node.inputs
    if not any(node.op_type in ("ReduceL2", "ReduceSum") for node in tail):
        raise ExportError(f"{name} does not end in an L2 norm")
    return tail


def _scale_pixels(graph: ir.Graph) -> None:
    for node in list(graph):
        if node.op_type not in ("MatMul", "Gemm") or node.inputs[0] is None:
            continue
        x, weight = node.inputs[0], constant_of(node.inputs[1])
        if uint8_source(x) is None or weight is None:
            continue
        down = add_constant(graph, "fp16.pixels_down", np.array(1 / _PIXEL_SCALE, np.float32))
        scaled = ir.node("Mul", [x, down])
        scaled.outputs[0].type, scaled.outputs[0].shape = x.type, x.shape
        graph.insert_before(node, scaled)
        node.replace_input_with(0, scaled.outputs[0])
        node.replace_input_with(1, add_constant(graph, "fp16.pixels_up", weight * np.float32(_PIXEL_SCALE)))


def _join_sums(graph: ir.Graph) -> None:
    """x + (product + bias), normalised, as one SkipLayerNormalization that gives the sum as well."""
    for node in list(graph):
        if node.op_type != "LayerNormalization" or node.inputs[0] is None:
            continue
        total = node.inputs[0].producer()
        biased = _biased_product(total) if total is not None else None
        if total is None or biased is None:
            continue
        product, bias = biased.inputs
        (residual,) = (value for value in total.inputs if value is not biased.outputs[0])
        joined = ir.node(
            "SkipLayerNormalization",
            [product, residual, *node.inputs[1:3], bias],
            {"epsilon": node.attributes.get_float("epsilon", 1e-5)},
            domain=_RUNTIME,
            num_outputs=4,
        )
        joined.outputs[1].name = joined.outputs[2].name = ""  # mean and deviation, for training
        graph.insert_before(total, joined)
        for old, new in ((node.outputs[0], joined.outputs[0]), (total.outputs[0], joined.outputs[3])):
            new.type, new.shape = old.type, old.shape
            ir.convenience.replace_all_uses_with(old, new)
        graph.remove([node, total, biased], safe=True)


def _biased_product(total: ir.Node) -> ir.Node | None:
    """Of the two summands of `total` the one that is a product plus a bias and serves nothing else."""
    if total.op_type != "Add" or any(value is None or value.is_initializer() for value in total.inputs):
        return None
    for value in total.inputs:
        node = value.producer() if value is not None else None
        if node is None or node.op_type != "Add" or len(node.outputs[0].uses()) != 1:
            continue
        product, bias = node.inputs
        source = product.producer() if product is not None else None
        width = bias.shape if bias is not None and bias.is_initializer() else None
        if source is not None and source.op_type == "MatMul" and width is not None and len(width) == 1:
            return node
    return None


def _constants_to_fp16(graph: ir.Graph, tail: Container[ir.Node], name: str) -> None:
    """A constant that the float32 nodes use too stays, beside its fp16 twin."""
    for value in list(graph.initializers.values()):
        array = constant_of(value)
        others = [use for use in value.uses() if use.node not in tail]
        if array is None or not others:
            continue
        if np.any((np.abs(array) > _LARGEST) & (np.abs(array) < _MASKED)):
            raise ExportError(f"{name}: {value.name} has weights past {_LARGEST:g}, too large for fp16")
        finite = np.where(np.isinf(array), array, np.clip(array, -_LARGEST, _LARGEST))
        half = add_constant(graph, f"{value.name}.fp16", finite.astype(np.float16))
        for node, index in others:
            node.replace_input_with(index, half)


def _widen(graph: ir.Graph, tail: Container[ir.Node]) -> None:
    """Casts what enters the float32 nodes from the fp16 ones."""
    cast: dict[ir.Value, ir.Value] = {}
    for node in list(graph):
        if node not in tail:
            continue
        for index, value in enumerate(node.inputs):
            if value is None or value.dtype != _HALF:
                continue
            if value not in cast:
                widened = ir.node("Cast", [value], {"to": int(_FLOAT)})
                widened.outputs[0].type, widened.outputs[0].shape = ir.TensorType(_FLOAT), value.shape
                graph.insert_before(node, widened)
                cast[value] = widened.outputs[0]
            node.replace_input_with(index, cast[value])
