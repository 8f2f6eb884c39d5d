"""Texts to ids without holding up the event loop, in threads of their own: nothing waits behind images."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor

from encoder_service.inputs.texts import TextTokenizer, Tokens

# Characters tokenised on the event loop (about 1 ms); more than that goes to a thread, in parts of as
# many, between which other calls get their turn.
_AT_ONCE = 4096


class Tokenising:
    """The tokenizer of a bundle and the threads that it runs in."""

    def __init__(self, tokenizer: TextTokenizer, executor: Executor) -> None:
        self._tokenizer = tokenizer
        self._executor = executor

    async def tokenise(self, texts: Sequence[str]) -> list[Tokens]:
        """Ids of each text."""
        if sum(map(len, texts)) <= _AT_ONCE:
            return self._tokenizer.encode(texts)
        tokenised: list[Tokens] = []
        for part in _parts(texts):
            loop = asyncio.get_running_loop()
            tokenised += await loop.run_in_executor(self._executor, self._tokenizer.encode, part)
        return tokenised


def _parts(texts: Sequence[str]) -> Iterator[list[str]]:
    part: list[str] = []
    size = 0
    for text in texts:
        if part and size + len(text) > _AT_ONCE:
            yield part
            part, size = [], 0
        part.append(text)
        size += len(text)
    yield part
