"""SigLIP of transformers, and SigLIP 2 of fixed size: texts look both ways and pool the last token."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

from encoder_service.export.families.layers import PatchEmbedding, attend, fold_biases, layers_of, run_pooled
from encoder_service.export.normalisation import Normalisation


class Image(nn.Module):
    """SigLIP's image tower: pooled by attention of a learned probe."""

    def __init__(self, model: Any, normalisation: Normalisation) -> None:
        super().__init__()
        tower, embeddings = model.vision_model, model.vision_model.embeddings
        self.patches = PatchEmbedding(embeddings.patch_embedding, embeddings.image_size, normalisation)
        self.position = embeddings.position_embedding.weight
        self.layers = layers_of(tower, causal=False)
        self.final_norm = tower.post_layernorm
        self.head = ProbeHead(tower.head)

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 [batch, size, size, 3] to vectors [batch, dimension]."""
        x = self.patches(pixels) + self.position
        for layer in self.layers:
            x = layer(x)
        y: Tensor = self.head(self.final_norm(x))
        return y


class ProbeHead(nn.Module):
    """Attention pooling: one learned query over all tokens, then an MLP."""

    def __init__(self, head: Any) -> None:
        super().__init__()
        attention = head.attention
        query, key, value = attention.in_proj_weight.detach().chunk(3)
        biases = attention.in_proj_bias.detach().chunk(3)
        self.heads: int = attention.num_heads
        self.query = nn.Parameter(F.linear(head.probe.detach(), query, biases[0]))
        self.key, self.value, self.out = fold_biases(key, (value, biases[2]), attention.out_proj)
        self.norm, self.mlp = head.layernorm, head.mlp

    def forward(self, x: Tensor) -> Tensor:
        """[batch, sequence, width] to [batch, width]."""
        query = self.query.expand(x.shape[0], -1, -1)
        x = self.out(attend(query, self.key(x), self.value(x), self.heads))
        y: Tensor = (x + self.mlp(self.norm(x)))[:, 0]
        return y


class Text(nn.Module):
    """SigLIP's text tower: looks both ways and pools the last token, so padding is part of the text."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        tower = model.text_model
        self.tokens = tower.embeddings.token_embedding
        self.position = tower.embeddings.position_embedding.weight
        self.layers = layers_of(tower, causal=False)
        self.final_norm, self.head = tower.final_layer_norm, tower.head

    def forward(self, input_ids: Tensor) -> Tensor:
        """int64 [batch, sequence] to vectors [batch, dimension]."""
        x = self.tokens(input_ids) + self.position[: input_ids.shape[1]]
        y: Tensor = self.head(self.final_norm(run_pooled(self.layers, x, lambda y: y[:, -1:])))
        return y
