"""Text to the ids that the text graph takes, and what was cut."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from clipsearch.batches import batched
from encoder_service.bundle import TOKENIZER, BundleError, TextRules
from encoder_service.inputs.errors import InputError, too_much

# Letters and marks that are drawn empty: fillers of Hangul, the empty Braille pattern, joiners and
# variation selectors.
_BLANK = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
    + "".join(map(chr, [*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]))
)
# Characters tokenised on the event loop (about 1 ms); more than that goes to a thread, in parts of as
# many, between which other calls get their turn.
_AT_ONCE = 4096
# Characters of a text of which the different ones are looked at, before the next so many.
_LOOKED_AT = 1024


@dataclass(frozen=True, slots=True)
class TextInput:
    """What was done to a text: tokens run, special ones included, and tokens dropped from its end."""

    tokens: int
    tokens_dropped: int = 0


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text ready for batching; not padded yet. `empty` = special tokens are all that there is."""

    ids: tuple[int, ...]
    input: TextInput
    empty: bool = False


class TextTokenizer:
    """The bundle's tokenizer under the manifest's rules."""

    def __init__(self, source: Path | Tokenizer, rules: TextRules) -> None:
        """Of a bundle's folder, or one that is loaded. Raises BundleError."""
        self._rules = rules
        self._tokenizer = source if isinstance(source, Tokenizer) else _read(source / TOKENIZER)
        # Cutting is done here, so that what is dropped can be told; padding belongs to the batch.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    async def tokenise(self, texts: Sequence[str], executor: Executor) -> list[Tokens]:
        """Ids of each text, without holding up the event loop: many characters go to the executor."""
        if sum(map(len, texts)) <= _AT_ONCE:
            return self.encode(texts)
        loop = asyncio.get_running_loop()
        tokenised: list[Tokens] = []
        for part in batched(texts, len(texts), _AT_ONCE):
            tokenised += await loop.run_in_executor(executor, self.encode, part)
        return tokenised

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Ids of each text, cut to the context length with the special tokens kept.

        Blocks for about 20 us a short text and up to 50 ms for 64 KiB, without the GIL.
        """
        if self._rules.lowercase:
            texts = [text.lower() for text in texts]
        # `encode` would hold the GIL, and with it the event loop (measured: 40 ms for 64 KiB).
        return [self._cut(encoding) for encoding in self._tokenizer.encode_batch_fast(list(texts))]

    def _cut(self, encoding: Encoding) -> Tokens:
        ids, limit = encoding.ids, self._rules.context_length
        dropped = max(0, len(ids) - limit)
        if dropped:
            mask = encoding.special_tokens_mask
            if self._rules.truncation_side == "left":
                start = _special_at_end(mask[::-1])
                ids = ids[:start] + ids[start + dropped :]
            else:
                end = _special_at_end(mask)
                ids = ids[: limit - end] + ids[len(ids) - end :]
        return Tokens(tuple(ids), TextInput(len(ids), dropped), all(encoding.special_tokens_mask))


def _read(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises a bare Exception
        raise BundleError(f"{path} is not a tokenizer: {error}") from None


def check_text(text: str, max_bytes: int) -> None:
    """Raises InputError: TEXT_EMPTY (nothing that could be seen) or TEXT_TOO_LARGE."""
    # A character has at most 4 bytes, so short texts need no encoding to be counted.
    if len(text) * 4 > max_bytes and (size := len(text.encode())) > max_bytes:
        raise too_much("TEXT_TOO_LARGE", f"{size} bytes, the limit is {max_bytes}", size, max_bytes)
    if _is_blank(text.strip()):
        raise InputError("TEXT_EMPTY", "empty, or of characters that cannot be seen only")


def _is_blank(text: str) -> bool:
    """Whether no character of the text can be seen.

    On the event loop: of 256 blank texts of 64 KiB each character by itself took 0.7 s.
    """
    unseen: set[str] = set()
    for start in range(0, len(text), _LOOKED_AT):
        others = set(text[start : start + _LOOKED_AT]) - unseen
        if not all(map(_unseen, others)):
            return False
        unseen |= others
    return True


def _unseen(character: str) -> bool:
    """White space, controls, format characters (U+200B and U+FEFF among them), and what is drawn empty."""
    return character.isspace() or unicodedata.category(character) in ("Cc", "Cf") or character in _BLANK


def pad(batch: Sequence[Tokens], rules: TextRules, least: int = 1) -> dict[str, NDArray[np.int64]]:
    """The text graph's inputs for a batch: int64 [batch, sequence], cut to the longest text of the batch.

    `sequence` is at least `least`, and the context length where the rules ask for padding to it (SigLIP
    sees its padding).
    """
    longest = max(least, *(len(tokens.ids) for tokens in batch))
    length = rules.context_length if rules.padding == "max_length" else longest
    ids = np.full((len(batch), length), rules.pad_id, dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, seen, tokens in zip(ids, mask, batch, strict=True):
        first = length - len(tokens.ids) if rules.padding_side == "left" else 0
        row[first : first + len(tokens.ids)] = tokens.ids
        seen[first : first + len(tokens.ids)] = 1
    return {"input_ids": ids, "attention_mask": mask} if rules.attention_mask else {"input_ids": ids}


def _special_at_end(mask: Sequence[int]) -> int:
    """How many special tokens close the sequence."""
    return sum(1 for _ in takewhile(bool, reversed(mask)))
