"""Zero-shot classification: which of these labels fits a picture best, and how surely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipsearch.serving.errors import InvalidArgument
from encoder_service.bundle import Manifest
from encoder_service.encoder import Encoded, Encoder

DEFAULT_TEMPLATE = "a photo of a {}"


@dataclass(frozen=True, slots=True)
class LabelScore:
    """A label, its probability (0 to 1) and the cosine of picture and prompt (-1 to 1)."""

    label: str
    probability: float
    cosine: float


async def classify(
    encoder: Encoder, images: Sequence[bytes], labels: Sequence[str], template: str, deadline: float
) -> list[list[LabelScore] | InvalidArgument]:
    """The labels of each picture, best first, or why there are none.

    Raises InvalidArgument for a label that cannot be encoded, else as `Encoder.encode_images`.
    """
    # Labels first: they are few and mostly known already, and a bad one costs no decoding.
    prompts = await encoder.encode_texts([template.replace("{}", label) for label in labels], deadline)
    rows = []
    for index, prompt in enumerate(prompts):
        if isinstance(prompt, InvalidArgument):
            raise InvalidArgument(f"labels[{index}]", prompt.description, prompt.reason)
        rows.append(prompt.vector)
    pictures = await encoder.encode_images(images, deadline)
    prompt_vectors = np.stack(rows)
    return [
        best_first(labels, prompt_vectors @ picture.vector, encoder.manifest)
        if isinstance(picture, Encoded)
        else picture
        for picture in pictures
    ]


def best_first(labels: Sequence[str], cosines: NDArray[np.float32], manifest: Manifest) -> list[LabelScore]:
    """Scores of one picture's cosines, float32 [labels]; equal ones in the order of the labels."""
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
