"""What rewriting a graph to a lower precision needs: its constants, where uint8 comes in, writing it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import ClearMetadataAndDocStringPass

Floats = NDArray[np.float32]

# protobuf cannot hold 2 GiB. Past this, weights lie beside the graph in `<graph>.data`.
MAX_INLINE_BYTES = 1_800_000_000


def constant_of(value: ir.Value | None) -> Floats | None:
    """The float32 numbers that the graph carries under this value; None for any other value."""
    if value is None or not value.is_initializer() or value.const_value is None:
        return None
    return value.const_value.numpy() if value.const_value.dtype == ir.DataType.FLOAT else None


def add_constant(graph: ir.Graph, name: str, array: NDArray[np.generic]) -> ir.Value:
    """Puts a tensor into the graph."""
    value = ir.val(name, const_value=ir.tensor(array, name=name))
    graph.register_initializer(value)
    return value


def uint8_source(x: ir.Value) -> ir.Value | None:
    """What was cast to float to make x, if that was uint8."""
    node = x.producer()
    if node is None or node.op_type != "Cast":
        return None
    source = node.inputs[0]
    return source if source is not None and source.dtype == ir.DataType.UINT8 else None


def save_graph(model: ir.Model, path: Path) -> None:
    """Writes a graph without traces of the machine it was made on; large weights go beside it."""
    ClearMetadataAndDocStringPass()(model)
    weights = [value.const_value for value in model.graph.initializers.values()]
    held = sum(tensor.nbytes for tensor in weights if tensor is not None)
    if held > MAX_INLINE_BYTES:
        ir.save(model, path, external_data=f"{path.name}.data")
    else:
        # Weights that stand beside the graph it was made from would be read from there for ever.
        ir.save(ir.external_data.load_to_model(model), path)
