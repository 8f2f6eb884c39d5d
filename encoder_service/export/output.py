"""The folder that a bundle is written into: all of it or nothing, and never over something else.

And what the graphs in it answer, for servers to meet it again.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from encoder_service.bundle import (
    KNOWN_TEXT,
    MANIFEST,
    ImageRules,
    KnownAnswer,
    Precision,
    TextRules,
    encode_vector,
    graph_file,
    known_answer_pixels,
)
from encoder_service.export import ExportError
from encoder_service.inputs.texts import TextTokenizer
from encoder_service.machine import available_cpus
from encoder_service.runtime.session import OnnxSession, plain_images, plain_texts


@contextmanager
def bundle_folder(out: Path) -> Iterator[Path]:
    """An empty folder beside `out` that becomes `out` when the block ends well, else vanishes.

    A bundle that stands in `out` stays until the new one is whole. Raises ExportError if `out` holds anything
    that is no bundle.
    """
    if out.exists() and not (out / MANIFEST).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise ExportError(f"{out} is there already and is no model bundle; nothing was written")
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        folder = scratch / "new"
        folder.mkdir()
        yield folder
        replaced = out.exists()
        if replaced:
            out.rename(scratch / "old")
        try:
            folder.rename(out)
        except OSError:
            if replaced:
                (scratch / "old").rename(out)
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


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
