"""The towers of any dual encoder as torch modules with a bundle's inputs and outputs; their export."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from encoder_service.bundle import TextRules
from encoder_service.export import ExportError
from encoder_service.export.graphs.edit import save_graph
from encoder_service.export.normalisation import Normalisation
from encoder_service.runtime.session import first_line

OPSET = 23  # the first with Attention


class ImageTower(nn.Module):
    """The model's own forward pass behind the normalisation of its pixels."""

    def __init__(self, encode: nn.Module, normalisation: Normalisation) -> None:
        super().__init__()
        self.encode = encode
        scale, shift = (torch.tensor(v).view(1, 3, 1, 1) for v in normalisation.scale_and_shift())
        self.scale, self.shift = nn.Buffer(scale), nn.Buffer(shift)

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 [batch, size, size, 3] to vectors [batch, width]."""
        y: Tensor = self.encode(pixels.permute(0, 3, 1, 2).float() * self.scale + self.shift)
        return y


class UnitVectors(nn.Module):
    """The first `dimension` numbers of a tower's vectors, brought to length 1."""

    def __init__(self, tower: nn.Module, dimension: int) -> None:
        super().__init__()
        self.tower = tower
        self.dimension = dimension

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """What the tower takes, to [batch, dimension]."""
        vectors = self.tower(inputs) if mask is None else self.tower(inputs, mask)
        vectors = vectors[:, : self.dimension]
        # F.normalize, in nodes that run well everywhere: the CUDA provider leaves ReduceL2 to cuDNN.
        y: Tensor = vectors / (vectors * vectors).sum(-1, keepdim=True).sqrt().clamp_min(1e-12)
        return y


def export_image(tower: nn.Module, size: int, path: Path) -> None:
    """Writes the image graph: `pixels` uint8 [batch, size, size, 3] -> `embeds` float32.

    Raises ExportError.
    """
    batch = torch.export.Dim("batch", min=1, max=4096)
    example = torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8)
    _export(tower, {"pixels": example}, ({0: batch},), path)


def export_text(tower: nn.Module, rules: TextRules, path: Path) -> None:
    """Writes the text graph: `input_ids` (and `attention_mask`) int64 [batch, sequence] -> `embeds` float32.

    A tower whose texts are padded to the whole context gets no other length. Raises ExportError.
    """
    axes: dict[int, Any] = {0: torch.export.Dim("batch", min=1, max=4096)}
    length = rules.context_length
    if rules.padding == "longest":
        axes[1] = torch.export.Dim("sequence", min=1, max=length)
        length = min(5, length)
    names = ["input_ids", "attention_mask"] if rules.attention_mask else ["input_ids"]
    examples = {name: torch.ones((2, length), dtype=torch.int64) for name in names}
    _export(tower, examples, (axes,) * len(names), path)


def _export(
    tower: nn.Module, examples: dict[str, Tensor], axes: tuple[dict[int, Any], ...], path: Path
) -> None:
    # The exporter's notes are about itself; its errors are exceptions.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with torch.no_grad(), warnings.catch_warnings(action="ignore"):
        try:
            program = torch.onnx.export(
                tower.eval(),
                tuple(examples.values()),
                dynamo=True,
                verbose=False,
                input_names=list(examples),
                output_names=["embeds"],
                dynamic_shapes=axes,
                opset_version=OPSET,
            )
        except Exception as error:  # its exceptions share no other type
            raise ExportError(f"torch cannot export {path.name}: {first_line(error)}") from error
    assert program is not None
    save_graph(program.model, path)
