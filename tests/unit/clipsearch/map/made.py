"""Samples of made-up spaces."""

from __future__ import annotations

import numpy as np

from clipsearch.client import responses
from clipsearch.client.types import Collection
from clipsearch.map.sample import IMAGE, TEXT, Item, Sample
from clipsearch.search.v1 import collection_pb2

DIMENSION = 32


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def collection(**changes) -> Collection:
    fields = {"name": "shop", "dimension": DIMENSION, **changes}
    kind = collection_pb2.PayloadIndex(field="kind", type=collection_pb2.PAYLOAD_INDEX_TYPE_KEYWORD)
    return responses.collection(collection_pb2.Collection(payload_indexes=[kind], **fields))


def islands(each: int = 20, kinds: int = 3, gap: float = 3.0, seed: int = 0) -> Sample:
    """Pictures and texts of a few kinds; one direction parts the two modalities as CLIP's gap does."""
    random = np.random.default_rng(seed)
    centres = np.eye(DIMENSION, dtype=np.float32)[:kinds]
    apart = np.eye(DIMENSION, dtype=np.float32)[-1]
    items, rows, item, side = [], [], [], []
    for kind in range(kinds):
        for number in range(each):
            for which in (IMAGE, TEXT):
                noise = random.normal(0, 0.05, DIMENSION)
                rows.append(centres[kind] + noise + (gap / 2 if which == IMAGE else -gap / 2) * apart)
                item.append(len(items))
                side.append(which)
                items.append(Item(f"{kind}-{number}-{which}", {"kind": f"kind {kind}", "name": f"n{number}"}))
    return Sample(
        collection(),
        len(items),
        tuple(items),
        unit(rows),
        np.array(item, np.int32),
        np.array(side, np.uint8),
    )
