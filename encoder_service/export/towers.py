"""Both towers as plain torch modules in the shape that ONNX Runtime runs fastest, and their export.

The weights are those of the transformers model; the forward passes are ours, for four reasons
(ratios measured on ViT-B/32, batch 8, two cores, against the graph that transformers' own code gives):
- `pixels` are cut into patches while they are uint8, and patch embedding is one matrix product with
  scale and normalisation folded into its weights: int8 then needs no rounding of the input at all;
- the last layer computes only the token that is pooled, which is all that leaves it (7 % of the work);
- attention is the ONNX operator `Attention` on [batch, sequence, width], without transposes.
  Together 1.09x the speed for images and 1.13x for texts in fp32, more in int8;
- nothing else gets in: no masks where causality says it all, no branches.
Merging the three projections of attention into one product was slower, as was `MultiHeadAttention`.
`verify` compares every exported graph with transformers' own forward pass.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

from encoder_service.export import ExportError
from encoder_service.export.graph_edit import save_graph
from encoder_service.export.preprocessing import Normalisation

OPSET = 23  # the first with Attention


# Takes one position out of [batch, sequence, width]: [batch, 1, width].
Pick = Callable[[Tensor], Tensor]


class Layer(nn.Module):
    """One transformer layer; CLIP's and SigLIP's have the same parts under the same names."""

    def __init__(self, layer: Any, causal: bool) -> None:
        super().__init__()
        self.heads: int = layer.self_attn.num_heads
        self.causal = causal
        self.norm1, self.norm2 = layer.layer_norm1, layer.layer_norm2
        self.query = layer.self_attn.q_proj
        key, value = layer.self_attn.k_proj, layer.self_attn.v_proj
        self.key, self.value, self.out = fold_biases(
            key.weight, (value.weight, value.bias), layer.self_attn.out_proj
        )
        self.mlp = layer.mlp

    def forward(self, x: Tensor) -> Tensor:
        """[batch, sequence, width] in and out."""
        y = self.norm1(x)
        mixed = attend(self.query(y), self.key(y), self.value(y), self.heads, causal=self.causal)
        return self._feed_forward(x + self.out(mixed))

    def pooled(self, x: Tensor, pick: Pick, seen: Tensor | None = None) -> Tensor:
        """The same at the one position of each sequence that `pick` takes; [batch, 1, width] out.

        `seen` is true where that position sees a key, bool [batch, 1, 1, sequence]; None = everywhere.
        """
        y = self.norm1(x)
        mixed = attend(self.query(pick(y)), self.key(y), self.value(y), self.heads, mask=seen)
        return self._feed_forward(pick(x) + self.out(mixed))

    def _feed_forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


def attend(
    query: Tensor, key: Tensor, value: Tensor, heads: int, *, causal: bool = False, mask: Tensor | None = None
) -> Tensor:
    """Multi-head attention, [batch, sequence, width] each; `mask` is true where a key is seen."""
    return torch.onnx.ops.attention(
        query, key, value, attn_mask=mask, is_causal=causal, q_num_heads=heads, kv_num_heads=heads
    )[0]


class PatchEmbedding(nn.Module):
    """uint8 pixels [batch, size, size, 3] to patch vectors [batch, patches, width], normalised inside."""

    def __init__(self, convolution: nn.Conv2d, image_size: int, normalisation: Normalisation) -> None:
        super().__init__()
        weight = convolution.weight.detach()  # [width, channels, patch, patch]
        scale, shift = (torch.tensor(v).view(1, -1, 1, 1) for v in normalisation.scale_and_shift())
        self.patch = weight.shape[-1]
        self.grid = image_size // self.patch
        self.linear = nn.Linear(weight[0].numel(), weight.shape[0])
        self.linear.weight.data = (weight * scale).permute(0, 2, 3, 1).flatten(1).contiguous()
        self.linear.bias.data = (weight.double() * shift).sum((1, 2, 3)).float()
        if convolution.bias is not None:
            self.linear.bias.data += convolution.bias.detach()

    def forward(self, pixels: Tensor) -> Tensor:
        """Patches in reading order, their pixels too."""
        cells = pixels.reshape(pixels.shape[0], self.grid, self.patch, self.grid, self.patch, 3)
        patches = cells.permute(0, 1, 3, 2, 4, 5).flatten(3).flatten(1, 2)
        y: Tensor = self.linear(patches.float())
        return y


class ClipImage(nn.Module):
    """CLIP's image tower: pooled at the class token."""

    def __init__(self, model: Any, normalisation: Normalisation) -> None:
        super().__init__()
        tower, embeddings = model.vision_model, model.vision_model.embeddings
        position = embeddings.position_embedding.weight.detach()
        self.patches = PatchEmbedding(embeddings.patch_embedding, embeddings.image_size, normalisation)
        self.token = nn.Parameter((embeddings.class_embedding.detach() + position[0]).view(1, 1, -1))
        self.position = nn.Parameter(position[1:].clone().unsqueeze(0))
        self.norm, self.final_norm = tower.pre_layrnorm, tower.post_layernorm
        self.layers = _layers(tower, causal=False)
        self.projection = model.visual_projection

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 [batch, size, size, 3] to unit vectors [batch, dimension]."""
        x = self.patches(pixels) + self.position
        x = self.norm(torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1))
        return _unit(self.projection(self.final_norm(_pooled(self.layers, x, lambda y: y[:, :1]))))


class ClipText(nn.Module):
    """CLIP's text tower: causal, pooled at the end-of-text token, so what follows it changes nothing."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        tower = model.text_model
        self.tokens = tower.embeddings.token_embedding
        self.position = tower.embeddings.position_embedding.weight
        self.layers = _layers(tower, causal=True)
        self.final_norm = tower.final_layer_norm
        self.projection = model.text_projection
        self.end: int = tower.eos_token_id

    def forward(self, input_ids: Tensor) -> Tensor:
        """int64 [batch, sequence] to unit vectors [batch, dimension]."""
        x = self.tokens(input_ids) + self.position[: input_ids.shape[1]]
        # Configurations made before 2023 say 2 and mean the highest id; transformers keeps to that.
        end = input_ids.int().amax(-1, keepdim=True) if self.end == 2 else self.end
        marks = (input_ids == end).float()
        # Up to the first mark. Index arithmetic would do it too, but CUDA has no ArgMax of integers, and
        # one node on the CPU is a copy there and back.
        seen = marks.cumsum(-1) - marks == 0
        first = (marks * seen.float()).unsqueeze(1)
        last = _pooled(self.layers, x, lambda y: first @ y, seen[:, None, None])
        return _unit(self.projection(self.final_norm(last)))


class SiglipImage(nn.Module):
    """SigLIP's image tower: pooled by attention of a learned probe."""

    def __init__(self, model: Any, normalisation: Normalisation) -> None:
        super().__init__()
        tower, embeddings = model.vision_model, model.vision_model.embeddings
        self.patches = PatchEmbedding(embeddings.patch_embedding, embeddings.image_size, normalisation)
        self.position = embeddings.position_embedding.weight
        self.layers = _layers(tower, causal=False)
        self.final_norm = tower.post_layernorm
        self.head = ProbeHead(tower.head)

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 [batch, size, size, 3] to unit vectors [batch, dimension]."""
        x = self.patches(pixels) + self.position
        for layer in self.layers:
            x = layer(x)
        return _unit(self.head(self.final_norm(x)))


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


class SiglipText(nn.Module):
    """SigLIP's text tower: looks both ways and pools the last token, so padding is part of the text."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        tower = model.text_model
        self.tokens = tower.embeddings.token_embedding
        self.position = tower.embeddings.position_embedding.weight
        self.layers = _layers(tower, causal=False)
        self.final_norm, self.head = tower.final_layer_norm, tower.head

    def forward(self, input_ids: Tensor) -> Tensor:
        """int64 [batch, sequence] to unit vectors [batch, dimension]."""
        x = self.tokens(input_ids) + self.position[: input_ids.shape[1]]
        return _unit(self.head(self.final_norm(_pooled(self.layers, x, lambda y: y[:, -1:]))))


def _layers(tower: Any, causal: bool) -> nn.ModuleList:
    return nn.ModuleList([Layer(layer, causal) for layer in tower.encoder.layers])


def _pooled(layers: nn.ModuleList, x: Tensor, pick: Pick, seen: Tensor | None = None) -> Tensor:
    *before, last = layers
    for layer in before:
        x = layer(x)
    y: Tensor = last.pooled(x, pick, seen)[:, 0]  # type: ignore[operator]  # a Layer; ModuleList forgets
    return y


def fold_biases(
    key: Tensor, value: tuple[Tensor, Tensor], out: nn.Linear
) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
    """Projections to keys, to values and out of attention, without the biases of the first two.

    `key` is a weight, `value` weight and bias. A key's bias adds the same to all scores of a query, which
    softmax takes away again. A value's comes through attention as it is, because the shares add up to one:
    it is added once, to the bias of `out`.
    """
    bias = out.bias.detach().double() + out.weight.detach().double() @ value[1].detach().double()
    return _linear(key), _linear(value[0]), _linear(out.weight, bias.to(out.weight.dtype))


def _linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    linear.weight.data = weight.detach().clone()
    if bias is not None:
        linear.bias.data = bias.detach().clone()
    return linear


def _unit(vectors: Tensor) -> Tensor:
    # What F.normalize does, in nodes that run well everywhere: the CUDA provider leaves ReduceL2 to cuDNN.
    return vectors / (vectors * vectors).sum(-1, keepdim=True).sqrt().clamp_min(1e-12)


def export_image(tower: nn.Module, size: int, path: Path) -> None:
    """Writes the image graph: `pixels` uint8 [batch, size, size, 3] -> `embeds` float32."""
    batch = torch.export.Dim("batch", min=1, max=4096)
    example = torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8)
    _export(tower, "pixels", example, {0: batch}, path)


def export_text(tower: nn.Module, context_length: int, path: Path) -> None:
    """Writes the text graph: `input_ids` int64 [batch, sequence] -> `embeds` float32."""
    batch = torch.export.Dim("batch", min=1, max=4096)
    sequence = torch.export.Dim("sequence", min=1, max=context_length)
    example = torch.zeros((2, min(5, context_length)), dtype=torch.int64)
    _export(tower, "input_ids", example, {0: batch, 1: sequence}, path)


def _export(tower: nn.Module, name: str, example: Tensor, axes: dict[int, Any], path: Path) -> None:
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            tower.eval(),
            (example,),
            dynamo=True,
            verbose=False,
            input_names=[name],
            output_names=["embeds"],
            dynamic_shapes={name: axes},
            opset_version=OPSET,
        )
    if program is None:
        raise ExportError(f"torch exported nothing for {path.name}")
    save_graph(program.model, path)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's notes about itself; its errors are exceptions."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
