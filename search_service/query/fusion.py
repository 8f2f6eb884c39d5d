"""Two rankings, one of images and one of texts, become one, by name of the method: the default is calibrated.

Their cosines lie in different ranges (the modality gap), so they are never sorted together: RRF
uses ranks alone, DBSF first brings each name's scores to a common scale.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from search_service.query.queries import Hit, Method
from search_service.stores.protocol import ScoredPoint, StoredPoint

RRF_K = 60
DEPTH = 500
"""Points of each vector name that are ranked, however many are wanted: a point's share, and with it the
order, depends on how many are."""
# Cosines that differ by less are equal but for float32 rounding.
_EQUAL = 1e-7


def fuse(image: Sequence[ScoredPoint], text: Sequence[ScoredPoint], method: Method) -> list[Hit]:
    """All points found, best first; ties in the order of their ids.

    `matched` is the name with the better rank (image on a tie); a rank counts from 1 and is 0 where the
    point was not found.
    """
    rankings = _Ranking(image, method), _Ranking(text, method)
    points = {scored.point.id: scored.point for scored in (*image, *text)}
    hits = [_join(point, *rankings) for point in points.values()]
    return sorted(hits, key=lambda hit: (-hit.score, hit.point.id))


class _Ranking:
    """One vector name: each id's rank, cosine and share of the fused score."""

    def __init__(self, found: Sequence[ScoredPoint], method: Method) -> None:
        ordered = sorted(found, key=lambda scored: (-scored.score, scored.point.id))
        self.cosine = {scored.point.id: scored.score for scored in ordered}
        self.rank = {id: rank for rank, id in enumerate(self.cosine, start=1)}
        self.share = (
            {id: 1 / (RRF_K + rank) for id, rank in self.rank.items()}
            if method == "rrf"
            else _scaled(self.cosine)
        )


def _scaled(cosines: dict[str, float]) -> dict[str, float]:
    """Cosines on a line where mean - 3 sd is 0 and mean + 3 sd is 1; all 0.5 if they are equal.

    Not cut to 0-1: the best of a name often lies beyond 3 sd, and cutting would make such hits equal.
    """
    values = np.fromiter(cosines.values(), dtype=np.float64, count=len(cosines))
    if not len(values):
        return {}
    mean, deviation = values.mean(), values.std()
    if deviation <= _EQUAL:
        return dict.fromkeys(cosines, 0.5)
    # Rounded, or equal scores of two names would differ in their last bits and not count as a tie.
    scaled = np.round((values - mean) / (6 * deviation) + 0.5, 9)
    return dict(zip(cosines, scaled.tolist(), strict=True))


def _join(point: StoredPoint, image: _Ranking, text: _Ranking) -> Hit:
    id = point.id
    image_rank, text_rank = image.rank.get(id, 0), text.rank.get(id, 0)
    by_image = bool(image_rank) and (not text_rank or image_rank <= text_rank)
    return Hit(
        point,
        score=image.share.get(id, 0.0) + text.share.get(id, 0.0),
        matched="image" if by_image else "text",
        cosine=image.cosine[id] if by_image else text.cosine[id],
        image_rank=image_rank,
        text_rank=text_rank,
    )
