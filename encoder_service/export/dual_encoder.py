"""A dual encoder in torch with all that its manifest says about it, and what its own library answers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor, nn

from encoder_service.bundle import ImageRules, Source, TextRules, Vectors
from encoder_service.export import ExportError
from encoder_service.export.normalisation import Normalisation
from encoder_service.export.parity import MAX_DIFFERENCE_FP32
from encoder_service.inputs.texts import Tokens, pad

# Items that the reference computes together.
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class DualEncoder:
    """Both towers are the library's own, in float32 and eval mode.

    `encode_image` takes float32 [batch, 3, size, size], normalised; `encode_text` int64 [batch, sequence] and
    maybe a mask of the same shape. Both give [batch, width], of which the first `dimension` are kept.
    `own_pixels` is what the library makes of an RGB image, float32 [3, size, size]; `own_tokens` of texts,
    int64 [texts, context length], and None where its tokenizer cannot be loaded here.
    """

    name: str
    source: Source
    license: str
    pretrained: bool
    family: str
    model: Any
    encode_image: nn.Module
    encode_text: nn.Module
    configuration: Mapping[str, Any]
    tokenizer: Tokenizer
    image: ImageRules
    normalisation: Normalisation
    text: TextRules
    dimension: int
    logit_scale: float
    logit_bias: float | None
    own_pixels: Callable[[Image.Image], Tensor]
    own_tokens: Callable[[Sequence[str]], NDArray[np.int64]] | None

    @property
    def scoring(self) -> Literal["softmax", "sigmoid"]:
        """Models that were trained with a bias score each pair for itself."""
        return "softmax" if self.logit_bias is None else "sigmoid"

    def computation(self) -> dict[str, object]:
        """What moves a vector beside weights, tokenizer and rules, for the fingerprint."""
        values = self.normalisation
        return {
            "configuration": _without_bookkeeping(self.configuration),
            "normalisation": [values.mean, values.std, values.rescale],
            "dimension": self.dimension,
        }


# What a configuration says that moves no vector, and that changes when a checkpoint is only saved again.
_BOOKKEEPING = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version")


def _without_bookkeeping(configuration: object) -> object:
    if not isinstance(configuration, Mapping):
        return configuration
    return {
        name: _without_bookkeeping(value) for name, value in configuration.items() if name not in _BOOKKEEPING
    }


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """A hash over names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def checked(encoder: DualEncoder, texts: Sequence[Tokens]) -> DualEncoder:
    """The same with its dimension, and the cheapest layout of texts that leaves their vectors as they are.

    A dimension of 0 becomes the model's own. Raises ExportError where the towers give no vectors that can
    be compared, or fewer numbers than are asked for.
    """
    size = encoder.image.size
    image = _run(encoder.encode_image, torch.zeros(1, 3, size, size))
    whole = encoder.text.model_copy(update={"padding": "max_length"})
    padded = _run(encoder.encode_text, *_inputs(texts, whole))
    if image.ndim != 2 or padded.ndim != 2 or image.shape[1] != padded.shape[1]:
        raise ExportError(
            f"{encoder.name} is no dual encoder: it gives {list(image.shape[1:])} numbers for an image and "
            f"{list(padded.shape[1:])} for a text"
        )
    width = image.shape[1]
    if not 0 <= encoder.dimension <= width:
        raise ExportError(f"dimension {encoder.dimension}: vectors of {encoder.name} have {width} numbers")
    rules = next(rules for rules in _layouts(whole) if rules == whole or _same(encoder, texts, rules, padded))
    return replace(encoder, dimension=encoder.dimension or width, text=rules)


def _layouts(whole: TextRules) -> Iterator[TextRules]:
    """Ways to lay out texts, cheapest first; the last is how the library itself does it."""
    for padding in ("longest", "max_length"):
        for mask in (False, True) if whole.attention_mask else (False,):
            yield whole.model_copy(update={"padding": padding, "attention_mask": mask})


def _same(encoder: DualEncoder, texts: Sequence[Tokens], rules: TextRules, padded: Tensor) -> bool:
    """Whether texts laid out by the rules, all in one batch and one by one, have the vectors given."""
    try:
        together = _run(encoder.encode_text, *_inputs(texts, rules))
        alone = torch.cat([_run(encoder.encode_text, *_inputs([text], rules)) for text in texts])
    except (RuntimeError, ValueError, IndexError):  # a tower that takes one length only
        return False
    return all(float((_unit(y) - _unit(padded)).abs().max()) < MAX_DIFFERENCE_FP32 for y in (together, alone))


def reference_images(encoder: DualEncoder, pixels: Sequence[NDArray[np.uint8]]) -> Vectors:
    """uint8 [size, size, 3] each through the model's own forward pass, unit vectors [n, dimension]."""
    rules = encoder.normalisation
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (rules.mean, rules.std))
    values = [
        (batch.permute(0, 3, 1, 2).float() * rules.rescale - mean) / std
        for batch in torch.split(torch.from_numpy(np.stack(pixels)), _AT_ONCE)
    ]
    return _vectors(encoder, [_run(encoder.encode_image, batch) for batch in values])


def reference_texts(encoder: DualEncoder, tokens: Sequence[Tokens]) -> Vectors:
    """Texts padded to the whole context, as the models' own examples do, unit vectors [n, dimension]."""
    whole = encoder.text.model_copy(update={"padding": "max_length"})
    batches = [tokens[start : start + _AT_ONCE] for start in range(0, len(tokens), _AT_ONCE)]
    return _vectors(encoder, [_run(encoder.encode_text, *_inputs(batch, whole)) for batch in batches])


def _inputs(texts: Sequence[Tokens], rules: TextRules) -> list[Tensor]:
    return [torch.from_numpy(array) for array in pad(texts, rules).values()]


@torch.inference_mode()
def _run(tower: nn.Module, *inputs: Tensor) -> Tensor:
    y: Tensor = tower(*inputs)
    return y


def _vectors(encoder: DualEncoder, batches: list[Tensor]) -> Vectors:
    vectors: Vectors = _unit(torch.cat(batches)[:, : encoder.dimension]).numpy()
    return vectors


def _unit(vectors: Tensor) -> Tensor:
    return nn.functional.normalize(vectors, dim=-1)
