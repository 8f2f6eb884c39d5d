"""Plain values to the encoder's requests; long lists go in several."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from clipsearch.batches import batched
from clipsearch.client import inputs
from clipsearch.client.inputs import ImageLike, image_bytes
from clipsearch.encoder.v1 import encoder_pb2, vector_pb2

_F32 = vector_pb2.VECTOR_FORMAT_F32_BYTES
# These are within the encoder's default limits.
_TEXTS_A_REQUEST = 128
_IMAGES_A_REQUEST = 32
_IMAGE_BYTES_A_REQUEST = 32 * 1024 * 1024


def model() -> encoder_pb2.GetModelRequest:
    """The model that the encoder runs."""
    return encoder_pb2.GetModelRequest()


def encode_texts(texts: Iterable[str]) -> Iterator[encoder_pb2.EncodeTextRequest]:
    """L2-normalised float32 [len(texts), dimension]; long lists go in several calls.

    Raises ClipSearchError for the first text that cannot be encoded, naming it.
    """
    given = inputs.strings(texts, "texts", "texts")
    for batch in batched(given, _TEXTS_A_REQUEST):
        yield encoder_pb2.EncodeTextRequest(texts=batch, format=_F32)


def encode_images(images: Iterable[ImageLike]) -> Iterator[encoder_pb2.EncodeImageRequest]:
    """L2-normalised float32 [images, dimension]; long lists go in several calls.

    Raises ClipSearchError for the first image that cannot be encoded, naming it.
    """
    for batch in _image_batches(images):
        yield encoder_pb2.EncodeImageRequest(images=batch, format=_F32)


def classify(
    images: Iterable[ImageLike], labels: Iterable[str], *, prompt_template: str | Sequence[str] = ""
) -> Iterator[encoder_pb2.ClassifyRequest]:
    """Which label fits each image best? Long lists of images go in several calls.

    Default prompt: "a photo of a {}"; of several templates the vectors are averaged. An image that cannot
    be read has an error and no labels.
    """
    choices = inputs.strings(labels, "labels", "labels")
    prompt: dict[str, Any]
    if isinstance(prompt_template, str):
        prompt = {"prompt_template": inputs.string(prompt_template, "prompt_template")}
    else:
        prompt = {"prompt_templates": inputs.strings(prompt_template, "prompt_template", "templates")}
    for batch in _image_batches(images):
        yield encoder_pb2.ClassifyRequest(images=batch, labels=choices, **prompt)


def _image_batches(images: Iterable[ImageLike]) -> Iterator[list[bytes]]:
    """The images' bytes, read as they are asked for."""
    given = enumerate(inputs.listed(images, "images", "images"))
    files = (image_bytes(image, f"images[{i}]") for i, image in given)
    return batched(files, _IMAGES_A_REQUEST, _IMAGE_BYTES_A_REQUEST)
