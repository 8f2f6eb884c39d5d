"""CLIP of transformers: its text tower is causal and pools at the end-of-text token.

The image tower is also that of MetaCLIP 2, Chinese-CLIP and AltCLIP.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from encoder_service.export.families.layers import PatchEmbedding, layers_of, run_pooled
from encoder_service.export.normalisation import Normalisation


class Image(nn.Module):
    """CLIP's image tower: pooled at the class token."""

    def __init__(self, model: Any, normalisation: Normalisation) -> None:
        super().__init__()
        tower, embeddings = model.vision_model, model.vision_model.embeddings
        position = embeddings.position_embedding.weight.detach()
        self.patches = PatchEmbedding(embeddings.patch_embedding, embeddings.image_size, normalisation)
        self.token = nn.Parameter((embeddings.class_embedding.detach() + position[0]).view(1, 1, -1))
        self.position = nn.Parameter(position[1:].clone().unsqueeze(0))
        self.norm, self.final_norm = tower.pre_layrnorm, tower.post_layernorm
        self.layers = layers_of(tower, causal=False)
        self.projection = model.visual_projection

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 [batch, size, size, 3] to vectors [batch, dimension]."""
        x = self.patches(pixels) + self.position
        x = self.norm(torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1))
        y: Tensor = self.projection(self.final_norm(run_pooled(self.layers, x, lambda y: y[:, :1])))
        return y


class Text(nn.Module):
    """CLIP's text tower: causal, pooled at the end-of-text token, so what follows it changes nothing."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        tower = model.text_model
        self.tokens = tower.embeddings.token_embedding
        self.position = tower.embeddings.position_embedding.weight
        self.layers = layers_of(tower, causal=True)
        self.final_norm = tower.final_layer_norm
        self.projection = model.text_projection
        self.end: int = tower.eos_token_id

    def forward(self, input_ids: Tensor) -> Tensor:
        """int64 [batch, sequence] to vectors [batch, dimension]."""
        x = self.tokens(input_ids) + self.position[: input_ids.shape[1]]
        # Configurations made before 2023 say 2 and mean the highest id; transformers keeps to that.
        end = input_ids.int().amax(-1, keepdim=True) if self.end == 2 else self.end
        marks = (input_ids == end).float()
        # Up to the first mark. Index arithmetic would do it too, but CUDA has no ArgMax of integers, and
        # one node on the CPU is a copy there and back.
        seen = marks.cumsum(-1) - marks == 0
        first = (marks * seen.float()).unsqueeze(1)
        last = run_pooled(self.layers, x, lambda y: first @ y, seen[:, None, None])
        y: Tensor = self.projection(self.final_norm(last))
        return y
