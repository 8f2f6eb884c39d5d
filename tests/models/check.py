"""One model through the exporter, against its own library, each with its own preprocessing and tokenizer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from encoder_service.bundle import graph_file
from encoder_service.export import golden
from encoder_service.export.dual_encoder import DualEncoder
from encoder_service.export.parity import cosines
from encoder_service.export.write_graphs import write_image, write_text
from encoder_service.inputs.pixels import fit
from encoder_service.inputs.texts import TextTokenizer, pad
from encoder_service.machine import available_cpus
from encoder_service.runtime.session import OnnxSession

TEXTS = (
    "a cat",
    "two children share an umbrella in the rain",
    "A hand-written shopping list: 2 pears, 1 lb of flour",
    "many words " * 60,
)


@dataclass(frozen=True, slots=True)
class Checked:
    """The smallest cosines of fp32 graphs to the library, how texts are padded, and what it took."""

    image: float
    text: float
    padding: str
    seconds: float
    notes: tuple[str, ...]


def check(encoder: DualEncoder, folder: Path, pictures: Sequence[Image.Image] | None = None) -> Checked:
    """Exports both towers in fp32 and compares. Raises ExportError."""
    start = time.monotonic()
    pictures = pictures or photographs()
    notes: list[str] = []
    image_path, text_path = folder / graph_file("image", "fp32"), folder / graph_file("text", "fp32")
    write_image(encoder, image_path, notes.append)
    encoder = write_text(encoder, text_path, notes.append)
    pixels = np.stack([np.asarray(fit(picture, encoder.image)) for picture in pictures])
    images = _run(image_path, pixels=pixels)
    tokens = TextTokenizer(encoder.tokenizer, encoder.text).encode(TEXTS)
    texts = _run(text_path, **pad(tokens, encoder.text))
    own_images = np.concatenate([_own_image(encoder, picture) for picture in pictures])
    own_texts = _own_texts(encoder, [len(text.ids) for text in tokens])
    return Checked(
        image=float(cosines(images, own_images).min()),
        text=float(cosines(texts, own_texts).min()),
        padding=encoder.text.padding,
        seconds=round(time.monotonic() - start, 1),
        notes=tuple(notes),
    )


@cache
def photographs() -> list[Image.Image]:
    """Three of the golden ones, of different shapes."""
    return [photo.image for photo in golden.photos()[::6]]


def _run(path: Path, **inputs: np.ndarray) -> np.ndarray:
    return OnnxSession(path, "cpu", available_cpus()).run(inputs)


@torch.inference_mode()
def _own_image(encoder: DualEncoder, picture: Image.Image) -> np.ndarray:
    vectors = encoder.encode_image(encoder.own_pixels(picture).unsqueeze(0))
    return np.asarray(vectors[:, : encoder.dimension].numpy())


@torch.inference_mode()
def _own_texts(encoder: DualEncoder, lengths: list[int]) -> np.ndarray:
    """With the library's own ids, padded to the whole context; its mask is of what is no padding."""
    if encoder.own_tokens is None:
        raise ValueError(f"{encoder.name}: its own tokenizer cannot be loaded")
    ids = torch.from_numpy(np.asarray(encoder.own_tokens(TEXTS)))
    inputs = [ids]
    if encoder.family not in ("open_clip", "siglip"):
        inputs.append((torch.arange(ids.shape[1]) < torch.tensor(lengths)[:, None]).long())
    return np.asarray(encoder.encode_text(*inputs)[:, : encoder.dimension].numpy())
