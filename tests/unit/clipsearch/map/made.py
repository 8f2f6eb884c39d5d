"""Samples of made-up spaces."""

from __future__ import annotations

import numpy as np

from clipsearch.client.types import Collection
from clipsearch.map.sample import IMAGE, TEXT, Item, Sample

DIMENSION = 32


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def collection(**changes) -> Collection:
    settings = {
        "name": "shop",
        "fingerprint": "f",
        "model": "m",
        "dimension": DIMENSION,
        "points": 0,
        "image_vectors": 0,
        "text_vectors": 0,
        "indexed_share": 0.0,
        "disk_bytes": 0,
        "aliases": (),
        "payload_indexes": {"kind": "keyword"},
        "hnsw_m": 0,
        "hnsw_ef_construct": 0,
        "hnsw_full_scan_threshold_kb": 0,
        "hnsw_on_disk": False,
        "quantization": "none",
        "quantization_params": {},
        "on_disk_vectors": False,
        "on_disk_payload": True,
        "shard_number": 1,
        "replication_factor": 1,
        "write_consistency_factor": 1,
    }
    return Collection(**{**settings, **changes})


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
