"""The starter model's text tower: all-MiniLM-L6-v2 as an ONNX graph, float32 or with int8 weights.

BERT looks both ways, so padding must be masked; the graph derives the mask from the ids (0 is
padding) and needs no other input. int8 means weights only: activations are quantised, if at all, by
the runtime in runs inside one token's row, so a text's vector does not depend on its batch-mates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from encoder_service.export.starter.graph import GraphWriter, Weights

WIDTH = 384
CONTEXT_LENGTH = 256  # the tower's own limit (its sentence_bert_config.json)
PAD_ID = 0

_HEADS = 12
_LAYERS = 6
_EPSILON = 1e-12
_HIDDEN = -1e9  # added to the attention scores of padding


def text_graph(
    weights: Weights,
    precision: Literal["fp32", "int8"],
    mean: NDArray[np.float32] | None = None,
    zeros: int = 0,
) -> onnx.ModelProto:
    """`input_ids` int64 [batch, sequence], padded with 0, to `embeds` float32 of norm 1.

    What joins the tower to the space: `mean` [384] is subtracted, and the unit vector gets so many `zeros`
    behind it. Without a mean the vectors are MiniLM's own, [batch, 384].
    """
    g = GraphWriter()
    linear = _linear_int8 if precision == "int8" else _linear_fp32
    tokens = g.node("Not", g.node("Equal", "input_ids", g.constant("pad_id", np.array(PAD_ID, np.int64))))
    mask = g.node("Cast", tokens, to=TensorProto.FLOAT)
    hidden = g.node("Where", g.node("Unsqueeze", tokens, g.ints(1, 2)), g.floats(0.0), g.floats(_HIDDEN))

    x = _embeddings(g, weights, precision)
    for layer in range(_LAYERS):
        x = _layer(g, weights, linear, f"encoder.layer.{layer}.", x, hidden)

    weighted = g.node("Mul", x, g.node("Unsqueeze", mask, g.ints(2)))
    summed = g.node("ReduceSum", weighted, g.ints(1), keepdims=0)  # the mean's direction
    if mean is None:
        g.unit(summed, output="embeds")
    else:
        centred = g.node("Sub", g.unit(summed), g.constant("mean", mean))
        g.node("Pad", g.unit(centred), g.ints(0, 0, 0, zeros), output="embeds")
    return g.model("starter-text", "input_ids", TensorProto.INT64, ("batch", "sequence"), WIDTH + zeros)


Linear = Callable[[GraphWriter, Weights, str, str], str]


def _embeddings(g: GraphWriter, weights: Weights, precision: Literal["fp32", "int8"]) -> str:
    """Word plus position, normalised. The token type is always 0 and goes into the positions."""
    table = weights["embeddings.word_embeddings.weight"]
    if precision == "int8":
        rows, scales = _quantised(table, axis=1)
        steps = g.node("Cast", g.node("Gather", g.constant("words", rows), "input_ids"), to=TensorProto.FLOAT)
        words = g.node("Mul", steps, g.node("Gather", g.constant("words.scale", scales), "input_ids"))
    else:
        words = g.node("Gather", g.constant("words", table), "input_ids")
    token_type = weights["embeddings.token_type_embeddings.weight"][0]
    places = g.constant("positions", weights["embeddings.position_embeddings.weight"] + token_type)
    length = g.node("Shape", "input_ids", start=1, end=2)
    used = g.node("Slice", places, g.ints(0), length, g.ints(0))
    return _norm(g, weights, "embeddings.LayerNorm", g.node("Add", words, used))


def _layer(g: GraphWriter, weights: Weights, linear: Linear, prefix: str, x: str, hidden: str) -> str:
    """Attention and feed-forward, each added to its input and normalised."""
    attended = _attention(g, weights, linear, prefix + "attention.self.", x, hidden)
    projected = linear(g, weights, prefix + "attention.output.dense", attended)
    x = _norm(g, weights, prefix + "attention.output.LayerNorm", g.node("Add", x, projected))
    wide = g.node("Gelu", linear(g, weights, prefix + "intermediate.dense", x))
    narrow = linear(g, weights, prefix + "output.dense", wide)
    return _norm(g, weights, prefix + "output.LayerNorm", g.node("Add", x, narrow))


def _attention(g: GraphWriter, weights: Weights, linear: Linear, prefix: str, x: str, hidden: str) -> str:
    """Softmax attention of 12 heads, padding hidden."""

    def heads(name: str, order: list[int]) -> str:
        split = g.node("Reshape", linear(g, weights, prefix + name, x), g.ints(0, 0, _HEADS, WIDTH // _HEADS))
        return g.node("Transpose", split, perm=order)

    query, key, value = heads("query", [0, 2, 1, 3]), heads("key", [0, 2, 3, 1]), heads("value", [0, 2, 1, 3])
    scores = g.node("Mul", g.node("MatMul", query, key), g.floats((WIDTH // _HEADS) ** -0.5))
    shares = g.node("Softmax", g.node("Add", scores, hidden), axis=-1)
    mixed = g.node("Transpose", g.node("MatMul", shares, value), perm=[0, 2, 1, 3])
    return g.node("Reshape", mixed, g.ints(0, 0, WIDTH))


def _linear_fp32(g: GraphWriter, weights: Weights, name: str, x: str) -> str:
    product = g.node("MatMul", x, g.constant(name + ".weight", weights[name + ".weight"].T))
    return g.node("Add", product, g.constant(name + ".bias", weights[name + ".bias"]))


def _linear_int8(g: GraphWriter, weights: Weights, name: str, x: str) -> str:
    """int8 weights with one scale a column, in the form that ONNX Runtime multiplies without unpacking."""
    columns, scales = _quantised(weights[name + ".weight"].T, axis=0)
    inputs = g.constant(name + ".weight", columns), g.constant(name + ".scale", scales[0])
    product = g.node("MatMul", x, g.node("DequantizeLinear", *inputs, axis=1))
    return g.node("Add", product, g.constant(name + ".bias", weights[name + ".bias"]))


def _quantised(values: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8 with one scale along `axis`: values are about steps * scales."""
    scales = (np.abs(values).max(axis=axis, keepdims=True) / 127).astype(np.float32)
    return np.rint(values / scales).astype(np.int8), scales


def _norm(g: GraphWriter, weights: Weights, name: str, x: str) -> str:
    scale = g.constant(name + ".weight", weights[name + ".weight"])
    bias = g.constant(name + ".bias", weights[name + ".bias"])
    return g.node("LayerNormalization", x, scale, bias, axis=-1, epsilon=_EPSILON)
