"""A dual encoder's graphs: faster towers where they give the same, the library's own code elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from encoder_service.bundle import Precision, Tower, Vectors, graph_file, known_answer_pixels
from encoder_service.export import ExportError, Progress
from encoder_service.export.dual_encoder import DualEncoder, reference_images, reference_texts
from encoder_service.export.families.fast import FAST_IMAGE, FAST_TEXT
from encoder_service.export.graphs.fp16 import to_fp16
from encoder_service.export.graphs.quantize import quantize
from encoder_service.export.graphs.towers import ImageTower, UnitVectors, export_image, export_text
from encoder_service.export.parity import MIN_COSINE_TO_TORCH, cosines
from encoder_service.inputs.texts import TextTokenizer, Tokens, pad
from encoder_service.machine import available_cpus
from encoder_service.runtime.providers import SessionError
from encoder_service.runtime.session import OnnxSession, first_line

Inputs = dict[str, NDArray[Any]]

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
    tried: dict[Tower, Inputs] = {"image": _pixels(encoder), "text": pad(_tokens(encoder), encoder.text)}
    return encoder, {tower: _lower(folder, tower, precisions, inputs, say) for tower, inputs in tried.items()}


def write_image(encoder: DualEncoder, path: Path, say: Progress = lambda _: None) -> None:
    """Writes the fp32 image graph. Raises ExportError."""
    inputs = _pixels(encoder)

    def export(tower: nn.Module) -> None:
        export_image(UnitVectors(tower, encoder.dimension), encoder.image.size, path)

    def right() -> bool:
        return _same(_run(path, inputs), reference_images(encoder, list(inputs["pixels"])))

    faster = FAST_IMAGE.get(encoder.family)
    made = (encoder.model, encoder.normalisation)
    if faster and _taken("the faster image tower", lambda: faster(*made), export, right, say):
        return
    export(ImageTower(encoder.encode_image, encoder.normalisation))


def write_text(encoder: DualEncoder, path: Path, say: Progress = lambda _: None) -> DualEncoder:
    """Writes the fp32 text graph; answers the encoder with the rules for its texts. Raises ExportError."""
    rules, tokens = encoder.text, _tokens(encoder)

    def export(tower: nn.Module) -> None:
        export_text(UnitVectors(tower, encoder.dimension), rules, path)

    def right() -> bool:
        return _same(_run(path, pad(tokens, rules)), reference_texts(encoder, tokens))

    faster = None if rules.attention_mask else FAST_TEXT.get(encoder.family)
    if faster and _taken("the faster text tower", lambda: faster(encoder.model), export, right, say):
        return encoder
    own, any_length = encoder.encode_text, rules.padding == "longest"
    if any_length and _taken("a graph of texts of any length", lambda: own, export, right, say):
        return encoder
    rules = rules.model_copy(update={"padding": "max_length"})
    export(own)
    return replace(encoder, text=rules)


def _pixels(encoder: DualEncoder) -> Inputs:
    pixels = known_answer_pixels(encoder.image.size)
    return {"pixels": np.stack([pixels, pixels[::-1]])}


def _tokens(encoder: DualEncoder) -> list[Tokens]:
    return TextTokenizer(encoder.tokenizer, encoder.text).encode(_TEXTS)


def _taken(
    what: str,
    make: Callable[[], nn.Module | None],
    export: Callable[[nn.Module], None],
    right: Callable[[], bool],
    say: Progress,
) -> bool:
    """Whether there is such a tower, and its graph gives the vectors of the library's own forward pass."""
    try:
        tower = make()
        if tower is None:
            return False
        export(tower)
        if right():
            return True
        reason = "its vectors are not those of the model"
    except (ExportError, SessionError, AttributeError, RuntimeError, ValueError) as error:
        reason = str(error)
    say(f"{what} is not taken: {reason}")
    return False


def _same(vectors: Vectors, reference: Vectors) -> bool:
    return bool(cosines(vectors, reference).min() >= MIN_COSINE_TO_TORCH)


def _run(path: Path, inputs: Inputs) -> Vectors:
    session = OnnxSession(path, "cpu", available_cpus())
    try:
        return session.run(inputs)
    except Exception as error:  # ONNX Runtime's own exception types are not exported
        raise SessionError(f"{path.name} cannot be run: {first_line(error)}") from None


def _lower(
    folder: Path, tower: Tower, precisions: Sequence[Precision], inputs: Inputs, say: Progress
) -> list[Precision]:
    """Writes the lower precisions that can be had; answers all that there are."""
    made: list[Precision] = ["fp32"]
    for precision in (precision for precision in precisions if precision != "fp32"):
        say(f"converting the {tower} tower to {precision}")
        graph = folder / graph_file(tower, precision)
        try:
            _LOWER[precision](folder / graph_file(tower, "fp32"), graph)
            _run(graph, inputs)
        except (ExportError, SessionError) as error:
            say(f"no {precision} for the {tower} tower: {error}")
            for path in folder.glob(f"{graph.name}*"):
                path.unlink()
        else:
            made.append(precision)
    return made
