"""CLIP's byte-level BPE, whose vocabulary (MIT) lies in the package `open_clip_torch`."""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from encoder_service.export import ExportError

SIZE = 49408  # of the whole vocabulary, with the two special tokens

_VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
_PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def bpe(
    size: int = SIZE,
    before: Sequence[str] = (),
    after: Sequence[str] = ("<|startoftext|>", "<|endoftext|>"),
    template: str = "<|startoftext|> $A <|endoftext|>",
    lowercase: bool = True,
) -> Tokenizer:
    """A tokenizer of `size` tokens, special ones included; fewer take the first, most frequent merges.

    `before` and `after` are the special tokens with the lowest and the highest ids.
    """
    merges = _merges()[: size - 2 * 256 - len(before) - len(after)]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())  # GPT-2's and CLIP's order
    words = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges)]
    vocabulary = {word: i for i, word in enumerate([*before, *words, *after])}
    result = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix="</w>"))
    # NFC, one space, lower case; words, single digits, runs of signs; bytes.
    case = [normalizers.Lowercase()] if lowercase else []
    result.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), *case]
    )
    result.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    result.decoder = decoders.ByteLevel()
    special = [*before[1:], *after]  # the first of `before` pads, and is written by nobody
    result.add_special_tokens(special)
    result.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[(token, vocabulary[token]) for token in special]
    )
    return result


def _merges() -> list[tuple[str, str]]:
    package = importlib.util.find_spec("open_clip")
    if package is None or package.origin is None:
        raise ExportError("CLIP's vocabulary is not here: pip install 'clipsearch[export]'")
    lines = gzip.decompress(Path(package.origin).with_name(_VOCABULARY).read_bytes()).decode().splitlines()
    return [(left, right) for left, right in (line.split() for line in lines[1 : SIZE - 2 * 256 - 2 + 1])]
