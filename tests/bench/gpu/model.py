"""The model that is measured: a known architecture with random weights, in torch and as fp16 graphs.

Made without the bundle's other parts, so that a machine with torch and transformers but no network
can make it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoder_service.bundle import ImageRules, Precision, TextRules, Tower
from encoder_service.export.sources.architectures import ARCHITECTURES

WORDS = 12
TOKENS = WORDS + 2  # a token a word, and the two ends


@dataclass(frozen=True, slots=True)
class Model:
    """A dual encoder: transformers' model, the graphs made of it, and what a run of them costs."""

    torch: Any
    graphs: Mapping[tuple[Tower, Precision], Path]
    image: ImageRules
    text: TextRules
    dimension: int
    vocabulary: int
    flops: Mapping[Tower, float]


def make_model(name: str, folder: Path) -> Model:
    """Exports both towers in fp32 and fp16 into `folder`."""
    from encoder_service.export.graphs.fp16 import to_fp16
    from encoder_service.export.sources.load import load_random
    from encoder_service.export.write_graphs import write_image, write_text

    shape, encoder = ARCHITECTURES[name], load_random(name, 0)
    folder.mkdir(parents=True, exist_ok=True)
    graphs: dict[tuple[Tower, Precision], Path] = {
        (tower, precision): folder / f"{tower}.{precision}.onnx"
        for tower in ("image", "text")
        for precision in ("fp32", "fp16")
    }
    write_image(encoder, graphs["image", "fp32"])
    write_text(encoder, graphs["text", "fp32"])
    for tower in ("image", "text"):
        to_fp16(graphs[tower, "fp32"], graphs[tower, "fp16"])
    patches = (shape.image["image_size"] // shape.image["patch_size"]) ** 2
    return Model(
        encoder.model,
        graphs,
        encoder.image,
        encoder.text,
        encoder.dimension,
        shape.text["vocab_size"],
        {
            "image": transformer_flops(shape.image, patches + 1)
            + 2 * patches * 3 * shape.image["patch_size"] ** 2 * shape.image["hidden_size"],
            "text": transformer_flops(shape.text, TOKENS),
        },
    )


def transformer_flops(shape: Mapping[str, int], tokens: int) -> float:
    """Of one item: products with weights and of attention; a multiplication and an addition are two.

    The whole of each layer counts, also where a graph leaves out what does not reach the output.
    """
    width, inner = shape["hidden_size"], shape["intermediate_size"]
    weights = 4 * width * width + 2 * width * inner
    return shape["num_hidden_layers"] * (2.0 * tokens * weights + 4.0 * tokens * tokens * width)
