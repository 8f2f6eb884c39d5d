"""Known architectures for bundles with random weights: configurations, tokenizer included.

Random weights serve benchmarks and tests where no hub can be reached: the same graphs, the same cost,
vectors that mean nothing. The tokenizer is real: CLIP's own vocabulary (MIT), read out of the wheel of
`open_clip_torch`; architectures with fewer tokens take its first, most frequent merges.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from clipsearch.downloads.wheels import Wheel, fetch, read_member
from encoder_service.export import ExportError
from encoder_service.export.preprocessing import Family

OPEN_CLIP = Wheel(
    project="open_clip_torch",
    version="3.3.0",
    file="open_clip_torch-3.3.0-py3-none-any.whl",
    sha256="c549ad5ed6bfc119cc11105033c0a2b9d7a2a4afeb40a58a09aab3da1a0043ce",
    megabytes=2,
)
_VOCABULARY = "open_clip/bpe_simple_vocab_16e6.txt.gz"

CLIP_START, CLIP_END = "<|startoftext|>", "<|endoftext|>"
SIGLIP_PAD, SIGLIP_END = "<pad>", "</s>"

# CLIP's training set, and the halves that SigLIP uses.
_CLIP_MEAN, _CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
_HALF = [0.5, 0.5, 0.5]


@dataclass(frozen=True, slots=True)
class Architecture:
    """Sizes of the two towers; `image` and `text` are the fields of transformers' configurations."""

    family: Family
    image: Mapping[str, int]
    text: Mapping[str, int]
    dimension: int

    def processor(self) -> dict[str, Any]:
        """The image processor that the published models of this family use."""
        size = self.image["image_size"]
        square = {"height": size, "width": size}
        if self.family == "siglip":
            return {"size": square, "resample": 3, "image_mean": _HALF, "image_std": _HALF}
        return {
            "size": {"shortest_edge": size},
            "do_center_crop": True,
            "crop_size": square,
            "resample": 3,
            "image_mean": _CLIP_MEAN,
            "image_std": _CLIP_STD,
        }


def _tower(width: int, layers: int, heads: int, **more: int) -> dict[str, int]:
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    return {**sizes, "intermediate_size": 4 * width, **more}


def _clip(
    image: dict[str, int], text: dict[str, int], dimension: int, vocabulary: int = 49408
) -> Architecture:
    tokens = {"vocab_size": vocabulary, "max_position_embeddings": 77}
    return Architecture("clip", image, {**text, **tokens}, dimension)


def _siglip(image: dict[str, int], text: dict[str, int], vocabulary: int = 32000) -> Architecture:
    tokens = {"vocab_size": vocabulary, "max_position_embeddings": 64}
    return Architecture("siglip", image, {**text, **tokens}, image["hidden_size"])


ARCHITECTURES: dict[str, Architecture] = {
    "clip-vit-base-patch32": _clip(
        _tower(768, 12, 12, image_size=224, patch_size=32), _tower(512, 12, 8), 512
    ),
    "clip-vit-base-patch16": _clip(
        _tower(768, 12, 12, image_size=224, patch_size=16), _tower(512, 12, 8), 512
    ),
    "clip-vit-large-patch14": _clip(
        _tower(1024, 24, 16, image_size=224, patch_size=14), _tower(768, 12, 12), 768
    ),
    "siglip-base-patch16-224": _siglip(
        _tower(768, 12, 12, image_size=224, patch_size=16), _tower(768, 12, 12)
    ),
    # For tests: every part of the real ones, a thousandth of the work.
    "clip-vit-tiny-test": _clip(
        _tower(64, 2, 4, image_size=64, patch_size=16), _tower(48, 2, 4), 32, vocabulary=2048
    ),
    "siglip-tiny-test": _siglip(
        _tower(64, 2, 4, image_size=64, patch_size=16), _tower(64, 2, 4), vocabulary=2048
    ),
}


def architecture(name: str) -> Architecture:
    """Raises ExportError, naming those there are, for an unknown name."""
    if name not in ARCHITECTURES:
        raise ExportError(f"no known architecture {name!r}; there are {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]


def random_model(shape: Architecture, seed: int) -> Any:
    """A transformers model with random weights; the same seed and torch give the same weights."""
    import torch
    from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

    vocabulary = shape.text["vocab_size"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if shape.family == "siglip":
            text = {
                **shape.text,
                "projection_size": shape.dimension,
                "pad_token_id": 0,
                "bos_token_id": 0,
                "eos_token_id": 1,
            }
            model: Any = SiglipModel(SiglipConfig(text_config=text, vision_config=dict(shape.image)))
            return model.eval()
        ends = {"bos_token_id": vocabulary - 2, "eos_token_id": vocabulary - 1}
        text = {**shape.text, **ends, "pad_token_id": vocabulary - 1}
        configuration = CLIPConfig(
            text_config={**text, "projection_dim": shape.dimension},
            vision_config={**shape.image, "projection_dim": shape.dimension},
            projection_dim=shape.dimension,
        )
        model = CLIPModel(configuration)
        return model.eval()


def tokenizer(
    shape: Architecture, cache: Path | None = None, progress: Callable[[str], None] | None = None
) -> Tokenizer:
    """A byte-level BPE tokenizer with exactly as many tokens as the text tower has embeddings.

    Raises clipsearch.downloads.wheels.WheelError if the vocabulary cannot be had.
    """
    size = shape.text["vocab_size"]
    lines = gzip.decompress(read_member(fetch(OPEN_CLIP, cache, progress), _VOCABULARY)).decode().splitlines()
    merges = [(left, right) for left, right in (line.split() for line in lines[1 : size - 512 - 2 + 1])]
    letters = _byte_letters()
    words = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges)]
    if shape.family == "siglip":
        vocabulary = {word: i for i, word in enumerate([SIGLIP_PAD, SIGLIP_END, *words])}
        return _bpe(vocabulary, merges, f"$A {SIGLIP_END}", [SIGLIP_END])
    vocabulary = {word: i for i, word in enumerate([*words, CLIP_START, CLIP_END])}
    return _bpe(vocabulary, merges, f"{CLIP_START} $A {CLIP_END}", [CLIP_START, CLIP_END])


def _bpe(
    vocabulary: dict[str, int], merges: list[tuple[str, str]], template: str, special: list[str]
) -> Tokenizer:
    """CLIP's pipeline: NFC, one space, lower case; words, single digits, runs of signs; bytes."""
    result = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix="</w>"))
    result.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    pieces = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    result.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pieces), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    result.decoder = decoders.ByteLevel()
    result.add_special_tokens(special)
    result.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[(token, vocabulary[token]) for token in special]
    )
    return result


def _byte_letters() -> list[str]:
    """The 256 letters that stand for bytes, in the order of GPT-2's and CLIP's vocabularies.

    Printable Latin-1 bytes stand for themselves; the other 68 take the letters from U+0100 on.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(256 - len(printable))]
