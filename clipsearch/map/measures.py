"""Numbers about an embedding space. Vectors are float32 [n, dimension] of length 1.

Where all pairs would be too many, a fixed random share of them is taken; `seed` chooses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import silhouette_score

from clipsearch.client.types import Vector
from clipsearch.map.queries import neighbours
from clipsearch.map.sample import IMAGE, TEXT, Sample

Labels = Sequence[str | None]

_ANCHORS = 2000
_BLOCK = 256


@dataclass(frozen=True, slots=True)
class Alike:
    """How texts meet the images of their own group: cosines, and shares of 1.

    `own` and `others` are the mean cosines of a text to the images of its group and to all other
    images; `nearer` is the share of texts whose own images are nearer on average than the others,
    `first` the share whose nearest image is one of their own.
    """

    texts: int
    own: float
    others: float
    nearer: float
    first: float


@dataclass(frozen=True, slots=True)
class FieldNumbers:
    """How well a payload field parts the space; None where there are not two groups.

    `silhouette` -1 to 1 (Rousseeuw 1987, cosine distance); `purity` is the share of the 10 nearest
    neighbours with the same value, 0 to 1; `purity_by_chance` what a random order would give.
    """

    silhouette: float | None
    purity: float | None
    purity_by_chance: float | None
    alike: Alike | None


@dataclass(frozen=True, slots=True)
class SpaceNumbers:
    """One space in numbers; None where a side is missing.

    `gap`: distance between the mean image and the mean text vector (Liang et al. 2022), 0 to 2.
    `alignment`: mean squared distance of the two vectors of one point, `uniformity`: log of the mean
    of exp(-2 squared distance) over pairs (Wang & Isola 2020); lower is better in both.
    """

    gap: float | None
    alignment: float | None
    uniformity: float | None
    uniformity_image: float | None
    uniformity_text: float | None
    fields: dict[str, FieldNumbers]


def measure(sample: Sample, vectors: Vector, fields: Sequence[str], seed: int = 0) -> SpaceNumbers:
    """The numbers of `vectors`, which are the sample's own or centred."""
    images, texts = (vectors[sample.side == side] for side in (IMAGE, TEXT))
    return SpaceNumbers(
        gap=modality_gap(images, texts),
        alignment=alignment(sample, vectors),
        uniformity=uniformity(vectors, seed),
        uniformity_image=uniformity(images, seed),
        uniformity_text=uniformity(texts, seed),
        fields={field: measure_field(sample, vectors, sample.values(field), seed) for field in fields},
    )


def measure_field(sample: Sample, vectors: Vector, labels: Labels, seed: int = 0) -> FieldNumbers:
    """How well groups part the space; vectors without a label are left out."""
    rows = np.array([i for i, label in enumerate(labels) if label is not None], np.intp)
    groups = np.array([label for label in labels if label is not None], np.str_)
    kept = vectors[rows] if rows.size < len(vectors) else vectors
    purity, by_chance = neighbour_purity(kept, groups, seed)
    return FieldNumbers(
        silhouette(kept, groups, seed), purity, by_chance, alike(kept, sample.side[rows], groups, seed)
    )


def modality_gap(images: Vector, texts: Vector) -> float | None:
    """Distance between the two means."""
    if not len(images) or not len(texts):
        return None
    return float(np.linalg.norm(images.mean(axis=0, dtype=np.float64) - texts.mean(axis=0, dtype=np.float64)))


def alignment(sample: Sample, vectors: Vector) -> float | None:
    """Mean squared distance of the two vectors of one point, over the points that have both."""
    images, texts = (np.flatnonzero(sample.side == side) for side in (IMAGE, TEXT))
    both, left, right = np.intersect1d(sample.item[images], sample.item[texts], return_indices=True)
    if not both.size:
        return None
    return float(((vectors[images[left]] - vectors[texts[right]]) ** 2).sum(axis=1).mean())


def uniformity(vectors: Vector, seed: int = 0) -> float | None:
    """Log of the mean Gaussian potential, t = 2, over pairs of different vectors."""
    chosen = vectors[_some(len(vectors), _ANCHORS, seed)]
    if len(chosen) < 2:
        return None
    squared = np.clip(2 - 2 * (chosen @ chosen.T), 0, None)
    potential = np.exp(-2 * squared.astype(np.float64))
    n = len(chosen)
    return float(np.log((potential.sum() - np.trace(potential)) / (n * (n - 1))))


def silhouette(vectors: Vector, groups: NDArray[np.str_], seed: int = 0) -> float | None:
    """Mean silhouette by cosine distance, of a share of the vectors if there are many."""
    chosen = _some(len(vectors), _ANCHORS, seed)
    names = groups[chosen]
    if not 2 <= len(set(names)) < len(names):
        return None
    return float(silhouette_score(vectors[chosen], names, metric="cosine"))


def neighbour_purity(
    vectors: Vector, groups: NDArray[np.str_], seed: int = 0
) -> tuple[float | None, float | None]:
    """Share of each vector's 10 nearest neighbours in its group, and what chance would give."""
    n = len(vectors)
    names, codes = np.unique(groups, return_inverse=True)
    if len(names) < 2 or n < 3:
        return None, None
    anchors = _some(n, _ANCHORS, seed)
    same = codes[neighbours(vectors, anchors)] == codes[anchors][:, None]
    sizes = np.bincount(codes)
    chance = float((sizes * (sizes - 1)).sum() / (n * (n - 1)))
    return float(same.mean()), chance


def alike(vectors: Vector, side: NDArray[np.uint8], groups: NDArray[np.str_], seed: int = 0) -> Alike | None:
    """Texts against the images of their own group; None where no text has own and other ones."""
    images = np.flatnonzero(side == IMAGE)
    names = set(groups[images])
    texts = np.array([i for i in np.flatnonzero(side == TEXT) if groups[i] in names], np.intp)
    if len(names) < 2 or not len(texts):
        return None
    texts = texts[_some(len(texts), _ANCHORS, seed)]
    own_means, other_means, first = [], [], []
    for start in range(0, len(texts), _BLOCK):
        block = texts[start : start + _BLOCK]
        cosines = vectors[block] @ vectors[images].T
        mine = groups[images][None, :] == groups[block][:, None]
        own_means.append((cosines * mine).sum(axis=1) / mine.sum(axis=1))
        other_means.append((cosines * ~mine).sum(axis=1) / (~mine).sum(axis=1))
        first.append(mine[np.arange(len(block)), cosines.argmax(axis=1)])
    own, others = np.concatenate(own_means), np.concatenate(other_means)
    return Alike(
        texts=len(texts),
        own=float(own.mean()),
        others=float(others.mean()),
        nearer=float((own > others).mean()),
        first=float(np.concatenate(first).mean()),
    )


def _some(count: int, most: int, seed: int) -> NDArray[np.intp]:
    """At most `most` of `count` row numbers, in order."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))
