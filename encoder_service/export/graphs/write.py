"""A dual encoder's graphs: hand-written towers where they are right, the library's own code elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from encoder_service.bundle import Precision, Tower, Vectors, graph_file, known_answer_pixels
from encoder_service.cpus import available_cpus
from encoder_service.export import ExportError
from encoder_service.export.dual_encoder import DualEncoder, reference_images, reference_texts
from encoder_service.export.families.fast import FAST
from encoder_service.export.graphs.fp16 import to_fp16
from encoder_service.export.graphs.quantize import quantize
from encoder_service.export.graphs.towers import ImageTower, UnitVectors, export_image, export_text
from encoder_service.export.parity import MIN_COSINE_TO_TORCH, cosines
from encoder_service.inputs.texts import TextTokenizer, pad
from encoder_service.runtime.providers import SessionError
from encoder_service.runtime.session import OnnxSession

Progress = Callable[[str], None]

_LOWER: dict[Precision, Callable[[Path, Path], None]] = {"int8": quantize, "fp16": to_fp16}
# Of different lengths, so that a graph that knows one only shows it.
_TEXTS = ("a cat", "A Dog on a RED sofa, 2 pears", "two children share an umbrella in the rain")


def write_graphs(
    encoder: DualEncoder, folder: Path, precisions: Sequence[Precision], say: Progress
) -> tuple[DualEncoder, dict[Tower, list[Precision]]]:
    """Writes both towers' graphs into the folder; answers the precisions that each got.

    The encoder comes back too, with the text rules that its graph asks for. Raises ExportError.
    """
    say("exporting the image tower")
    write_image(encoder, folder / graph_file("image", "fp32"), say)
    say("exporting the text tower")
    encoder = write_text(encoder, folder / graph_file("text", "fp32"), say)
    return encoder, {tower: _lower(folder, tower, precisions, say) for tower in ("image", "text")}


def write_image(encoder: DualEncoder, path: Path, say: Progress = lambda _: None) -> None:
    """Writes the fp32 image graph. Raises ExportError."""
    size = encoder.image.size
    pixels = np.stack([known_answer_pixels(size), known_answer_pixels(size)[::-1]])

    def export(tower: nn.Module) -> None:
        export_image(UnitVectors(tower, encoder.dimension), size, path)

    def right() -> bool:
        return _same(_run(path, {"pixels": pixels}), reference_images(encoder, pixels))

    if (fast := FAST.get(encoder.family)) and _taken(
        "the hand-written image tower",
        lambda: export(fast[0](encoder.model, encoder.normalisation)),
        right,
        say,
    ):
        return
    export(ImageTower(encoder.encode_image, encoder.normalisation))


def write_text(encoder: DualEncoder, path: Path, say: Progress = lambda _: None) -> DualEncoder:
    """Writes the fp32 text graph; answers the encoder with the rules for its texts. Raises ExportError."""
    rules = encoder.text
    tokens = TextTokenizer(encoder.tokenizer, rules).encode(_TEXTS)

    def export(tower: nn.Module) -> None:
        export_text(UnitVectors(tower, encoder.dimension), rules, path)

    def right() -> bool:
        return _same(_run(path, pad(tokens, rules)), reference_texts(encoder, tokens))

    fast = FAST.get(encoder.family)
    if fast and not rules.attention_mask:
        what = "the hand-written text tower"
        if _taken(what, lambda: export(fast[1](encoder.model)), right, say):
            return encoder
    own = encoder.encode_text
    if rules.padding == "longest" and _taken(
        "a graph of texts of any length", lambda: export(own), right, say
    ):
        return encoder
    rules = rules.model_copy(update={"padding": "max_length"})
    export(own)
    return replace(encoder, text=rules)


def _taken(what: str, export: Callable[[], None], right: Callable[[], bool], say: Progress) -> bool:
    """Whether a graph could be written and gives the vectors of the library's own forward pass."""
    try:
        export()
        if right():
            return True
        reason = "its vectors are not those of the model"
    except (ExportError, SessionError, AttributeError, RuntimeError, ValueError) as error:
        reason = str(error)
    say(f"{what} is not taken: {reason}")
    return False


def _same(vectors: Vectors, reference: Vectors) -> bool:
    return bool(cosines(vectors, reference).min() >= MIN_COSINE_TO_TORCH)


def _run(path: Path, inputs: dict[str, NDArray[Any]]) -> Vectors:
    return OnnxSession(path, "cpu", available_cpus()).run(inputs)


def _lower(folder: Path, tower: Tower, precisions: Sequence[Precision], say: Progress) -> list[Precision]:
    """Writes the lower precisions that can be had; answers all that there are."""
    made: list[Precision] = ["fp32"]
    for precision in (precision for precision in precisions if precision != "fp32"):
        say(f"converting the {tower} tower to {precision}")
        graph = folder / graph_file(tower, precision)
        try:
            _LOWER[precision](folder / graph_file(tower, "fp32"), graph)
            OnnxSession(graph, "cpu", available_cpus())
        except (ExportError, SessionError) as error:
            say(f"no {precision} for the {tower} tower: {error}")
            for path in folder.glob(f"{graph.name}*"):
                path.unlink()
        else:
            made.append(precision)
    return made
