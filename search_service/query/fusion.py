"""Two rankings, one of images and one of texts, become one, by name of the method: the default is calibrated.

Their cosines lie in different ranges (the modality gap), so they are never sorted together: RRF
uses ranks alone, DBSF first brings each side's scores to a common scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from search_service.stores.protocol import Side

Method = Literal["rrf", "dbsf"]
RRF_K = 60
DEPTH = 500
"""Points of each vector name that are ranked, however many are wanted: a point's share, and with it the
order, depends on how many are."""
# Cosines that differ by less are equal but for float32 rounding.
_EQUAL = 1e-7


@dataclass(frozen=True, slots=True)
class Candidate:
    """A point as one side found it."""

    id: str
    cosine: float


@dataclass(frozen=True, slots=True)
class Fused:
    """A point of either side. `matched` is the side with the better rank (image on a tie), `cosine` is to
    that side; a rank counts from 1 and is 0 where the point is not among the candidates."""

    id: str
    score: float
    matched: Side
    cosine: float
    image_rank: int
    text_rank: int


def fuse(image: Sequence[Candidate], text: Sequence[Candidate], method: Method) -> list[Fused]:
    """All candidates, best first; ties in the order of their ids."""
    sides = _Ranking(image, method), _Ranking(text, method)
    fused = [_join(id, *sides) for id in sides[0].rank.keys() | sides[1].rank.keys()]
    return sorted(fused, key=lambda hit: (-hit.score, hit.id))


class _Ranking:
    """One side: each id's rank, cosine and share of the fused score."""

    def __init__(self, candidates: Sequence[Candidate], method: Method) -> None:
        ordered = sorted(candidates, key=lambda candidate: (-candidate.cosine, candidate.id))
        self.cosine = {candidate.id: candidate.cosine for candidate in ordered}
        self.rank = {id: rank for rank, id in enumerate(self.cosine, start=1)}
        self.share = (
            {id: 1 / (RRF_K + rank) for id, rank in self.rank.items()}
            if method == "rrf"
            else _scaled(self.cosine)
        )


def _scaled(cosines: dict[str, float]) -> dict[str, float]:
    """Cosines on a line where mean - 3 sd is 0 and mean + 3 sd is 1; all 0.5 if they are equal.

    Not cut to 0-1: the best of a side often lies beyond 3 sd, and cutting would make such hits equal.
    """
    values = np.fromiter(cosines.values(), dtype=np.float64, count=len(cosines))
    if not len(values):
        return {}
    mean, deviation = values.mean(), values.std()
    if deviation <= _EQUAL:
        return dict.fromkeys(cosines, 0.5)
    # Rounded, or equal scores of two sides would differ in their last bits and not count as a tie.
    scaled = np.round((values - mean) / (6 * deviation) + 0.5, 9)
    return dict(zip(cosines, scaled.tolist(), strict=True))


def _join(id: str, image: _Ranking, text: _Ranking) -> Fused:
    image_rank, text_rank = image.rank.get(id, 0), text.rank.get(id, 0)
    by_image = bool(image_rank) and (not text_rank or image_rank <= text_rank)
    return Fused(
        id=id,
        score=image.share.get(id, 0.0) + text.share.get(id, 0.0),
        matched="image" if by_image else "text",
        cosine=image.cosine[id] if by_image else text.cosine[id],
        image_rank=image_rank,
        text_rank=text_rank,
    )
