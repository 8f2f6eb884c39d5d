"""What the graphs of a bundle answer when it is made; a server that loads them must get the same again."""

from __future__ import annotations

from pathlib import Path

from encoder_service.bundle import (
    KNOWN_TEXT,
    ImageRules,
    KnownAnswer,
    Precision,
    TextRules,
    encode_vector,
    graph_file,
    known_answer_pixels,
)
from encoder_service.inputs.texts import TextTokenizer
from encoder_service.machine import available_cpus
from encoder_service.runtime.session import OnnxSession, plain_images, plain_texts


def known_answer(folder: Path, image: ImageRules, text: TextRules, text_precision: Precision) -> KnownAnswer:
    """What a bundle's graphs give for KNOWN_TEXT and `known_answer_pixels`."""
    images = OnnxSession(folder / graph_file("image", "fp32"), "cpu", available_cpus())
    texts = OnnxSession(folder / graph_file("text", text_precision), "cpu", available_cpus())
    tokens = TextTokenizer(folder, text).encode([KNOWN_TEXT])
    return KnownAnswer(
        text=KNOWN_TEXT,
        text_vector=encode_vector(plain_texts(texts, text).run(tokens)[0]),
        image_vector=encode_vector(plain_images(images).run([known_answer_pixels(image.size)])[0]),
    )
