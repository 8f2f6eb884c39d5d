"""The numbers of a map, for scripts and for the page."""

from __future__ import annotations

import dataclasses
from typing import Any

from clipsearch.map.build import SpaceMap
from clipsearch.map.sample import IMAGE, SIDES, TEXT


def summary(drawn: SpaceMap) -> dict[str, Any]:
    """Everything that was measured, as JSON; the meaning of each is in `clipsearch.map.measures`."""
    sample = drawn.sample
    return {
        "collection": sample.collection.name,
        "model": sample.collection.model,
        "fingerprint": sample.collection.fingerprint,
        "points": sample.points,
        "points_shown": len(sample.items),
        "image_vectors": int((sample.side == IMAGE).sum()),
        "text_vectors": int((sample.side == TEXT).sum()),
        "seed": drawn.seed,
        "spaces": {view.name: _rounded(dataclasses.asdict(view.numbers)) for view in drawn.views},
        "clusters": {
            **_rounded(dataclasses.asdict(drawn.cluster_numbers)),
            "found": [dataclasses.asdict(cluster) for cluster in drawn.clusters],
        },
        "queries": [
            {
                "query": placed.title,
                "space": view.name,
                "nearest": [
                    {
                        "id": sample.items[sample.item[row]].id,
                        "side": SIDES[sample.side[row]],
                        "cosine": cosine,
                    }
                    for row, cosine in zip(placed.rows, placed.cosines, strict=True)
                ],
            }
            for view in drawn.views
            for placed in view.questions
        ],
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)  # the page rounds to 3, as the command line does: 4 here would round twice
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return value
