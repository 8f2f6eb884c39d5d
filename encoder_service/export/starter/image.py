"""The starter model's image tower: EfficientNet-Lite2, then ConSE, as an ONNX graph.

An image's vector is [c, s] / sqrt(2). c is the average of the vectors of the ImageNet classes it
looks like (Norouzi et al. 2013, "Zero-shot learning by convex combination of semantic embeddings"):
the half that texts are compared with. s holds what the class average loses of the image's looks,
for image against image.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from encoder_service.export.starter.graph import GraphWriter, Weights

SIZE = 260
LOOKS = 128
TEMPERATURE = 1.25

_BLOCKS = 21
_HALVING_BLOCKS = {1, 4, 7, 15}  # the other blocks have stride 1
_EPSILON = 1e-3  # of the batch normalisation
_MEAN, _SCALE = 127.0, 128.0


def image_graph(weights: Weights, class_vectors: NDArray[np.float32]) -> onnx.ModelProto:
    """Pixels uint8 [batch, 260, 260, 3] to `embeds` float32 [batch, text dimension + 128], of norm 1.

    `weights` is EfficientNet-Lite2's state dict; `class_vectors`, float32 [1000, text dimension],
    are unit vectors in the order of its classes.
    """
    g = GraphWriter()
    features = _features(g, weights)

    logits = g.node(
        "Gemm",
        features,
        g.constant("classifier.weight", weights["_fc.weight"] / np.float32(TEMPERATURE)),
        g.constant("classifier.bias", weights["_fc.bias"] / np.float32(TEMPERATURE)),
        transB=1,
    )
    mixture = g.node("MatMul", g.node("Softmax", logits, axis=-1), g.constant("classes", class_vectors))
    looks = g.node("MatMul", features, g.constant("looks", looks_basis(weights["_fc.weight"])))
    joined = g.node("Concat", g.unit(mixture), g.unit(looks), axis=-1)
    g.unit(joined, output="embeds")

    pixels = ("batch", SIZE, SIZE, 3)
    return g.model("starter-image", "pixels", TensorProto.UINT8, pixels, class_vectors.shape[1] + LOOKS)


def looks_basis(classifier: NDArray[np.float32]) -> NDArray[np.float32]:
    """The first 128 right singular vectors, [1280, 128], of the classifier's row-centred weight.

    These are the directions of the features that classes differ by. Signs are fixed (the largest
    entry of each is positive), so that every machine gets the same space.
    """
    exact = classifier.astype(np.float64)
    _, _, rows = np.linalg.svd(exact - exact.mean(axis=0), full_matrices=False)
    basis = rows[:LOOKS].T
    largest = basis[np.abs(basis).argmax(axis=0), np.arange(LOOKS)]
    signed: NDArray[np.float32] = (basis * np.sign(largest)).astype(np.float32)
    return signed


def _features(g: GraphWriter, weights: Weights) -> str:
    """Pixels to the features before the classifier, [batch, 1280]."""
    x = g.node("Cast", g.node("Transpose", "pixels", perm=[0, 3, 1, 2]), to=TensorProto.FLOAT)
    x = g.node("Div", g.node("Sub", x, g.floats(_MEAN)), g.floats(_SCALE))
    x = _relu6(g, _convolution(g, weights, x, "_conv_stem", "_bn0", stride=2))
    for index in range(_BLOCKS):
        x = _block(g, weights, x, f"_blocks.{index}.", stride=2 if index in _HALVING_BLOCKS else 1)
    x = _relu6(g, _convolution(g, weights, x, "_conv_head", "_bn1"))
    return g.node("Flatten", g.node("GlobalAveragePool", x))


def _block(g: GraphWriter, weights: Weights, entry: str, prefix: str, stride: int) -> str:
    """An inverted bottleneck: widen (but for the first block), filter each channel, narrow, add."""
    x = entry
    channels_in = weights[prefix + "_depthwise_conv.weight"].shape[0]
    if prefix + "_expand_conv.weight" in weights:
        channels_in = weights[prefix + "_expand_conv.weight"].shape[1]
        x = _relu6(g, _convolution(g, weights, x, prefix + "_expand_conv", prefix + "_bn0"))
    x = _relu6(g, _convolution(g, weights, x, prefix + "_depthwise_conv", prefix + "_bn1", stride))
    x = _convolution(g, weights, x, prefix + "_project_conv", prefix + "_bn2")
    channels_out = weights[prefix + "_project_conv.weight"].shape[0]
    return g.node("Add", x, entry) if stride == 1 and channels_in == channels_out else x


def _convolution(g: GraphWriter, weights: Weights, x: str, name: str, norm: str, stride: int = 1) -> str:
    """A convolution with its batch normalisation folded in, padded as TensorFlow's SAME pads."""
    kernel = weights[name + ".weight"].astype(np.float64)
    variance = weights[norm + ".running_var"].astype(np.float64)
    factor = weights[norm + ".weight"] / np.sqrt(variance + _EPSILON)
    bias = weights[norm + ".bias"] - weights[norm + ".running_mean"] * factor
    return g.node(
        "Conv",
        x,
        g.constant(name + ".weight", kernel * factor[:, None, None, None]),
        g.constant(name + ".bias", bias),
        kernel_shape=list(kernel.shape[2:]),
        strides=[stride, stride],
        # The only convolutions with one channel in are the depthwise ones.
        group=kernel.shape[0] if kernel.shape[1] == 1 else 1,
        auto_pad="SAME_UPPER",
    )


def _relu6(g: GraphWriter, x: str) -> str:
    return g.node("Clip", x, g.floats(0.0), g.floats(6.0))
