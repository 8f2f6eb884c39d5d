"""What transformers itself answers: the vectors that exported graphs are measured against."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from encoder_service.export.checkpoint import Checkpoint
from encoder_service.inputs.texts import Tokens

_BATCH = 8


@torch.inference_mode()
def images(checkpoint: Checkpoint, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 [n, size, size, 3] through the model's own forward pass, unit vectors [n, dimension]."""
    rules = checkpoint.normalisation
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (rules.mean, rules.std))

    def encode(batch: torch.Tensor) -> torch.Tensor:
        values = (batch.permute(0, 3, 1, 2).float() * rules.rescale - mean) / std
        vectors: torch.Tensor = checkpoint.model.get_image_features(pixel_values=values).pooler_output
        return vectors

    return _units([encode(batch) for batch in torch.split(torch.from_numpy(pixels), _BATCH)])


@torch.inference_mode()
def texts(checkpoint: Checkpoint, tokens: Sequence[Tokens]) -> NDArray[np.float32]:
    """Texts padded to the whole context, as the models' own examples do, unit vectors [n, dimension]."""
    ids = np.full((len(tokens), checkpoint.text.context_length), checkpoint.text.pad_id, np.int64)
    for row, text in zip(ids, tokens, strict=True):
        row[: len(text.ids)] = text.ids

    def encode(batch: torch.Tensor) -> torch.Tensor:
        vectors: torch.Tensor = checkpoint.model.get_text_features(input_ids=batch).pooler_output
        return vectors

    return _units([encode(batch) for batch in torch.split(torch.from_numpy(ids), _BATCH)])


def token_ids(checkpoint: Checkpoint, texts: Sequence[str]) -> list[tuple[int, ...]] | None:
    """The ids that transformers' tokenizer gives, cut to the context; None if there is no such tokenizer."""
    tokenizer = checkpoint.reference_tokenizer
    if tokenizer is None:
        return None
    rules = checkpoint.text
    lowered = [text.lower() for text in texts] if rules.lowercase else list(texts)
    ids = tokenizer(lowered, truncation=True, max_length=rules.context_length)["input_ids"]
    return [tuple(row) for row in ids]


def _units(batches: list[torch.Tensor]) -> NDArray[np.float32]:
    vectors: NDArray[np.float32] = torch.nn.functional.normalize(torch.cat(batches), dim=-1).numpy()
    return vectors
