"""Writes ONNX graphs node by node; the same calls give the same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 20  # the first with Gelu
IR_VERSION = 10

Weights = Mapping[str, NDArray[Any]]


class GraphWriter:
    """Collects nodes and constants; every call returns the name of the value it made."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """A tensor that the graph carries. float64 becomes float32."""
        if value.dtype == np.float64:
            value = value.astype(np.float32)
        self._constants.append(numpy_helper.from_array(np.array(value, order="C"), name))
        return name

    def floats(self, value: float) -> str:
        """A float32 scalar."""
        return self.constant(f"value_{len(self._constants)}", np.array(value, np.float32))

    def ints(self, *values: int) -> str:
        """An int64 list: axes, a shape."""
        return self.constant(f"value_{len(self._constants)}", np.array(values, np.int64))

    def node(self, op: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """An operator with one output."""
        name = output or f"{op.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def unit(self, vectors: str, output: str | None = None) -> str:
        """Rows [batch, n] divided by their L2 norms; a row of zeros stays one."""
        norm = self.node("ReduceL2", vectors, self.ints(-1), keepdims=1)
        return self.node("Div", vectors, self.node("Max", norm, self.floats(1e-12)), output=output)

    def model(
        self, name: str, entry: str, kind: int, shape: Sequence[int | str], dimension: int
    ) -> onnx.ModelProto:
        """The finished model: an input of a TensorProto type, and `embeds`, float32 [batch, dimension]."""
        given = helper.make_tensor_value_info(entry, kind, list(shape))
        embeds = helper.make_tensor_value_info("embeds", TensorProto.FLOAT, ["batch", dimension])
        graph = helper.make_graph(self._nodes, name, [given], [embeds], self._constants)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="clipsearch"
        )
        onnx.checker.check_model(model)
        return model
