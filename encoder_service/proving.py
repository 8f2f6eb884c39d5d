"""Whether the towers' sessions work: one whose last batch failed is asked for the known answer's input.

A fault of its card, say, breaks a session for good: all its batches fail until the process is started
anew. Health must hear of that, and where it stays so the process must end. Inputs that fail for what they
are, and a session that is merely busy, must not end it: the known answer has a batch of its own, one that
comes too late counts for nothing, and any batch that gives a vector starts the count anew.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from clipsearch.serving.errors import ServiceError, Unavailable
from clipsearch.serving.health import Broken
from encoder_service.bundle import Manifest, Tower, known_answer_pixels
from encoder_service.inputs.texts import TextTokenizer, Tokens
from encoder_service.queue.batcher import Batcher

POLL_S = 1.0
# In a row, a second apart: several times what health waits before it says NOT_SERVING.
MOST_FAILURES = 30
# For one batch, ahead of all that have longer.
_PROOF_S = 1.5

Item = TypeVar("Item")


@dataclass(slots=True)
class _Tower(Generic[Item]):
    """A tower, the known answer's input, and how often its session failed to compute that since it fails."""

    name: Tower
    batcher: Batcher[Item]
    known: Item
    since: float | None = None
    failures: int = 0
    error: str = ""

    @property
    def fails(self) -> bool:
        """A proof has failed, and no batch has given a vector since."""
        return self.failures > 0 and self.batcher.failing_since == self.since

    def follow(self) -> None:
        """Takes over since when the batches fail; if one has given a vector, the count starts anew."""
        if self.batcher.failing_since != self.since:
            self.since, self.failures = self.batcher.failing_since, 0


class Proving:
    """Watches the sessions of both towers, at no cost while no batch fails."""

    def __init__(
        self,
        manifest: Manifest,
        tokenizer: TextTokenizer,
        pictures: Batcher[NDArray[np.uint8]],
        texts: Batcher[Tokens],
    ) -> None:
        self._given_up = ""
        (tokens,) = tokenizer.encode([manifest.known_answer.text])
        self._towers: tuple[_Tower[Any], ...] = (
            _Tower("image", pictures, known_answer_pixels(manifest.image.size)),
            _Tower("text", texts, tokens),
        )

    @property
    def problem(self) -> str:
        """Which session fails, and how; "" = none is known to."""
        if self._given_up:
            return self._given_up
        return next((f"the {t.name} tower's session fails ({t.error})" for t in self._towers if t.fails), "")

    async def ready(self) -> None:
        """Health's probe. Raises Unavailable while a session fails, Broken once one is given up."""
        if self._given_up:
            raise Broken(self._given_up)
        if self.problem:
            raise Unavailable("encoder", self.problem)

    async def watch(self) -> None:
        """Looks at the sessions once a second, until one is given up."""
        await asyncio.gather(*map(self._watch, self._towers))

    async def _watch(self, tower: _Tower[Any]) -> None:
        while not self._given_up:
            await asyncio.sleep(POLL_S)
            tower.follow()
            if tower.since is not None:
                await self._prove(tower)

    async def _prove(self, tower: _Tower[Any]) -> None:
        since = tower.since
        try:
            await tower.batcher.submit(tower.known, time.monotonic() + _PROOF_S, alone=True)
        except ServiceError:  # too late, or stopping: it says nothing of the session
            return
        except Exception as error:
            tower.follow()
            if tower.since != since:
                return
            tower.failures, tower.error = tower.failures + 1, type(error).__name__
            if tower.failures >= MOST_FAILURES:
                self._given_up = (
                    f"the {tower.name} tower's session is broken: it fails ({tower.error}), "
                    f"with the known answer's input too, {tower.failures} times in a row"
                )
