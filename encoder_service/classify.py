"""Zero-shot classification: which of these labels fits an image best, and how surely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipsearch.serving.errors import InvalidArgument
from encoder_service.bundle import Manifest
from encoder_service.encoder import Encoded, Encoder

PLACE = "{}"
DEFAULT_TEMPLATE = f"a photo of a {PLACE}"


@dataclass(frozen=True, slots=True)
class LabelScore:
    """A label, its probability (0 to 1) and the cosine of image and prompt (-1 to 1)."""

    label: str
    probability: float
    cosine: float


def prompt_bytes(template: str, labels: Sequence[str]) -> list[int]:
    """UTF-8 bytes of each label's prompt: `template` with the label wherever {} stands in it."""
    places = template.count(PLACE)
    without = len(template.encode()) - places * len(PLACE)
    return [without + places * len(label.encode()) for label in labels]


def check_prompts(
    field: str,
    templates: Sequence[str],
    labels: Sequence[str],
    *,
    most: int,
    most_bytes: int,
    most_bytes_in_all: int,
) -> None:
    """Raises InvalidArgument unless every label, and every prompt that they would make, may be encoded.

    `field` is where the templates stand in the request; of several it is a list. `most` prompts are allowed,
    of `most_bytes` bytes of UTF-8 each and `most_bytes_in_all` together. No prompt is made.
    """
    known: dict[str, int] = {}
    for index, template in enumerate(templates):
        where = field if field == "prompt_template" else f"{field}[{index}]"
        if PLACE not in template:
            raise InvalidArgument(where, "has no {} to put the label into")
        if (size := len(template.encode())) > most_bytes:
            raise _too_large(where, f"{size} bytes, the limit is {most_bytes}", size)
        if (first := known.setdefault(template, index)) != index:
            raise InvalidArgument(where, f"the same as {field}[{first}]", "TEMPLATE_REPEATED")
    if (count := len(templates) * len(labels)) > most:
        raise InvalidArgument(
            field,
            f"{len(templates)} templates with {len(labels)} labels make {count} prompts, {most} are allowed",
            "COUNT_OUT_OF_RANGE",
        )
    seen: dict[str, int] = {}
    for index, label in enumerate(labels):
        if not label.strip():
            raise InvalidArgument(f"labels[{index}]", "empty, or white space only", "TEXT_EMPTY")
        if label in seen:  # errors get into traces, where a caller's words do not belong
            raise InvalidArgument(f"labels[{index}]", f"the same as labels[{seen[label]}]", "LABEL_REPEATED")
        seen[label] = index
    total = 0
    for template in templates:
        for index, size in enumerate(prompt_bytes(template, labels)):
            total += size
            if size > most_bytes:
                message = f"its prompt would have {size} bytes, the limit is {most_bytes}"
                raise _too_large(f"labels[{index}]", message, size)
    if total > most_bytes_in_all:
        message = f"all prompts would have {total} bytes, the limit is {most_bytes_in_all}"
        raise _too_large("labels", message, total)


def _too_large(field: str, message: str, size: int) -> InvalidArgument:
    return InvalidArgument(field, message, "TEXT_TOO_LARGE", {"value": str(size)})


async def classify(
    encoder: Encoder,
    images: Sequence[bytes],
    labels: Sequence[str],
    templates: Sequence[str],
) -> list[list[LabelScore] | InvalidArgument]:
    """The labels of each image, best first, or why there are none. For what `check_prompts` lets through.

    Of several templates a label has one vector: the mean of its prompts', of length 1 again.

    Raises InvalidArgument for a label that cannot be encoded, else as `Encoder.encode_images`.
    """
    # Labels first: they are few and mostly known already, and a bad one costs no decoding.
    texts = [template.replace(PLACE, label) for label in labels for template in templates]
    prompts = await encoder.encode_texts(texts)
    rows = []
    for index, prompt in enumerate(prompts):
        if isinstance(prompt, InvalidArgument):
            raise InvalidArgument(f"labels[{index // len(templates)}]", prompt.description, prompt.reason)
        rows.append(prompt.vector)
    outcomes = await encoder.encode_images(images)
    means: NDArray[np.float32] = np.stack(rows).reshape(len(labels), len(templates), -1).mean(axis=1)
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    label_vectors = means / np.maximum(norms, np.finfo(np.float32).tiny)
    return [
        best_first(labels, label_vectors @ outcome.vector, encoder.manifest)
        if isinstance(outcome, Encoded)
        else outcome
        for outcome in outcomes
    ]


def best_first(labels: Sequence[str], cosines: NDArray[np.float32], manifest: Manifest) -> list[LabelScore]:
    """Scores of one image's cosines, float32 [labels]; equal ones in the order of the labels."""
    chances = probabilities(cosines, manifest)
    return [
        LabelScore(labels[index], float(chances[index]), float(cosines[index]))
        for index in np.argsort(-cosines, kind="stable")
    ]


def probabilities(cosines: NDArray[np.float32], manifest: Manifest) -> NDArray[np.float64]:
    """Softmax over the labels (CLIP), or a sigmoid for each (SigLIP), of the scaled cosines."""
    logits = cosines.astype(np.float64) * manifest.logit_scale + manifest.logit_bias
    if manifest.scoring == "sigmoid":
        odds: NDArray[np.float64] = np.exp(-np.clip(logits, -500, 500))  # beyond, float64 would overflow
        return 1 / (1 + odds)
    powers: NDArray[np.float64] = np.exp(logits - logits.max())
    return powers / float(powers.sum())
