"""Groups that the map shows by itself: dense places of the layout, named by the words nearest to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import HDBSCAN
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from clipsearch.client.types import Vector
from clipsearch.map.projection import Positions
from clipsearch.map.sample import Sample

NONE = -1
EVERYDAY_WORDS = Path(__file__).with_name("words.txt")
# HDBSCAN of 100,000 positions takes a minute; of these 2 s, and the others go with their nearest.
_CLUSTERED = 10_000
_NAMES = 2


@dataclass(frozen=True, slots=True)
class Cluster:
    """A dense place of the map. `words`, nearest first, are empty where no encoder could be asked."""

    size: int
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Words:
    """Words that may name a cluster, and their vectors, float32 [words, dimension]."""

    words: Sequence[str]
    vectors: Vector


def read_words(path: Path) -> list[str]:
    """One word or phrase a line; empty lines and those that begin with # are left out. Raises OSError."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return list(dict.fromkeys(line for line in lines if line and not line.startswith("#")))


def find_clusters(positions: Positions) -> NDArray[np.int32]:
    """The cluster of each position, from 0, largest first; NONE between clusters. Int32 [n].

    HDBSCAN (Campello et al. 2013) over an even share of the positions.
    """
    n = len(positions)
    if n < 6:
        return np.full(n, NONE, np.int32)
    step = -(-n // _CLUSTERED)
    share = positions[::step]
    smallest = max(3, round(len(share) ** 0.5 / 2))
    labels = HDBSCAN(min_cluster_size=smallest, copy=True).fit(share).labels_
    if step > 1:
        nearest = NearestNeighbors(n_neighbors=1).fit(share)
        labels = labels[nearest.kneighbors(positions, return_distance=False)[:, 0]]
    return _by_size(np.asarray(labels, np.int32))


def name_clusters(
    sample: Sample, vectors: Vector, labels: NDArray[np.int32], words: Words | None
) -> list[Cluster]:
    """Each cluster's size and the words nearest to its middle, told apart from the other clusters.

    The middle is compared less the mean of all that its modality has in clusters, and words less the mean
    word: what every image, or every word, has in common names nothing.
    """
    count = int(labels.max()) + 1
    sizes = np.bincount(labels[labels != NONE], minlength=count)
    if words is None or not len(words.words) or count == 0:
        return [Cluster(int(size)) for size in sizes]
    directions = normalize(words.vectors - words.vectors.mean(axis=0))
    scores = np.zeros((count, len(words.words)), np.float32)
    for side in np.unique(sample.side[labels != NONE]):
        rows = (sample.side == side) & (labels != NONE)
        mean = vectors[rows].mean(axis=0)
        clusters, members = np.unique(labels[rows], return_counts=True)
        away = [vectors[rows & (labels == cluster)].mean(axis=0) - mean for cluster in clusters]
        scores[clusters] += (members / sizes[clusters])[:, None] * (normalize(away) @ directions.T)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :_NAMES]
    return [
        Cluster(int(size), tuple(words.words[i] for i in row)) for size, row in zip(sizes, best, strict=True)
    ]


def _by_size(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """The same clusters, numbered from the largest on."""
    order = np.argsort(-np.bincount(labels[labels != NONE]), kind="stable")
    return np.append(np.argsort(order), NONE)[labels].astype(np.int32)  # NONE, -1, is the last of them
