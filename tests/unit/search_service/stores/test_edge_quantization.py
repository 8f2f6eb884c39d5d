"""Quantisation on Qdrant Edge: how many of the true neighbours are found once the index is built.

POINTS=20000 measures a larger collection.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

from search_service.query.filters import Filter, MatchValue
from search_service.stores.edge import indexing as edge_index
from search_service.stores.edge.live import Upkeep
from search_service.stores.edge.store import QdrantEdge
from search_service.stores.protocol import CollectionSpec, QuantizationParams, StoredPoint, VectorQuery

pytestmark = pytest.mark.slow

DIMENSION = 256
COUNT = int(os.environ.get("POINTS", "3000"))
CLUSTERS = COUNT // 40
QUESTIONS = 20
# The least recall@10 with rescoring of four times as many, with a filter and without.
SETTINGS = [
    ("none", {}, 0.98),
    ("scalar", {"quantile": 0.99, "always_ram": True}, 0.97),
    ("binary", {}, 0.90),
    ("binary", {"encoding": "two_bits", "query_encoding": "scalar8bits"}, 0.90),
    ("product", {"compression": 16}, 0.90),
    ("turbo", {"bits": 4.0}, 0.95),
]


def clustered(count: int, seed: int) -> np.ndarray:
    """Unit vectors about common centres, as embeddings lie; float32 [count, DIMENSION]."""
    centres = np.random.default_rng(7).standard_normal((CLUSTERS, DIMENSION))
    rng = np.random.default_rng(seed)
    vectors = centres[rng.integers(CLUSTERS, size=count)] + 0.7 * rng.standard_normal((count, DIMENSION))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("quantization", "params", "bound"), SETTINGS)
async def test_quantised_searches_find_the_true_neighbours(tmp_path, quantization, params, bound):
    spec = CollectionSpec(
        "c",
        DIMENSION,
        "f",
        payload_indexes={"shard": "integer"},
        quantization=quantization,
        quantization_params=QuantizationParams(**params),
    )
    vectors, questions = clustered(COUNT, 1), clustered(QUESTIONS, 2)
    store = await QdrantEdge.open(tmp_path, Upkeep(index_threshold=COUNT // 2, quiet_s=3600))
    try:
        await store.create_collection(spec)
        for start in range(0, COUNT, 500):
            part = range(start, min(start + 500, COUNT))
            await store.upsert("c", [StoredPoint(str(n), {"shard": n % 2}, image=vectors[n]) for n in part])
        assert await edge_index.rebuild(store._live["c"])
        assert (await store.get_collection("c")).indexed_share > 0.99
        recall = await _recall(store, vectors, questions)
        filtered = await _recall(store, vectors, questions, shard=1)
        bare = await _recall(store, vectors, questions, rescore=False)
        print(
            f"\n{quantization} {params}: recall@10 {recall:.3f}, "
            f"filtered {filtered:.3f}, without rescoring {bare:.3f}"
        )
        assert recall >= bound
        assert filtered >= bound
        assert (bare < recall) == (quantization != "none"), "vectors are compressed, and rescoring helps"
    finally:
        await store.close()


async def _recall(
    store: QdrantEdge,
    vectors: np.ndarray,
    questions: np.ndarray,
    shard: int | None = None,
    rescore: bool = True,
) -> float:
    among = np.arange(len(vectors)) if shard is None else np.arange(shard, len(vectors), 2)
    condition = None if shard is None else Filter(must=(MatchValue("shard", shard),))
    found = 0
    for question in questions:
        asked = VectorQuery(
            question, "image", 10, filter=condition, rescore=rescore, oversampling=4.0 if rescore else 0
        )
        (hits,) = await store.query("c", [asked])
        nearest = among[np.argsort(-(vectors[among] @ question))[:10]]
        found += len({int(hit.point.id) for hit in hits} & set(nearest.tolist()))
    return found / (10 * len(questions))
