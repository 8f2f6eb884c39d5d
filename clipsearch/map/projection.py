"""Vectors of many dimensions as points on a page, near ones near; the same each time.

The linear part is PCA. What it keeps is laid out by t-SNE (van der Maaten & Hinton 2008) below
1,000 vectors, where comparing all pairs is exact and quick, and from there on by PaCMAP (Wang et
al. 2021), which keeps more of the large shapes and stays linear in the number of vectors.
"""

from __future__ import annotations

import logging
import warnings

import numpy as np
from numpy.typing import NDArray

from clipsearch.client.types import Vector
from clipsearch.map.sample import IMAGE, TEXT

Positions = NDArray[np.float32]

_COMPONENTS = 50
_EXACT_BELOW = 1000
_BLOCK = 8192


def centred(vectors: Vector, side: NDArray[np.uint8]) -> Vector:
    """Each modality with its own mean taken away, at length 1 again: float32 [n, dimension].

    CLIP's images and texts lie on two islands (the modality gap, Liang et al. 2022); the difference
    of the two means is most of what parts them.
    """
    moved = vectors.copy()
    for which in (IMAGE, TEXT):
        rows = side == which
        if rows.any():
            moved[rows] -= moved[rows].mean(axis=0, dtype=np.float64).astype(np.float32)
    lengths = np.linalg.norm(moved, axis=1, keepdims=True)
    np.divide(moved, lengths, out=moved, where=lengths > 1e-12)
    return moved


def project(vectors: Vector, seed: int = 0) -> Positions:
    """Positions, float32 [n, 2], centred on 0 and at most 1 from it; `vectors` are float32 [n, dimension]."""
    components = principal_components(vectors, _COMPONENTS)
    if len(vectors) < 4 or components.shape[1] < 2:
        placed = np.zeros((len(vectors), 2), np.float32)
        kept = min(2, components.shape[1])
        placed[:, :kept] = components[:, :kept]
    elif len(vectors) < _EXACT_BELOW:
        placed = _tsne(components, seed)
    else:
        placed = _pacmap(components, seed)
    placed = placed - placed.mean(axis=0)
    return np.asarray(placed / max(float(np.abs(placed).max()), 1e-12), np.float32)


def principal_components(vectors: Vector, most: int) -> Vector:
    """The `most` directions of largest variance, float32 [n, <= most]; signs are fixed.

    From the covariance matrix, summed block by block: no second copy of the vectors is needed.
    """
    mean = vectors.mean(axis=0, dtype=np.float64)
    covariance = np.zeros((vectors.shape[1],) * 2)
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK] - mean
        covariance += block.T @ block
    values, directions = np.linalg.eigh(covariance)
    kept = [i for i in np.argsort(values)[::-1][:most] if values[i] > 1e-9 * values.max()]
    axes = directions[:, kept]
    # An eigenvector's sign is the library's whim: its largest number is made positive.
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    return np.asarray(vectors @ axes.astype(np.float32) - (mean @ axes).astype(np.float32), np.float32)


def _tsne(components: Vector, seed: int) -> Positions:
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(components) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init="pca", method="exact", random_state=seed)
    return np.asarray(tsne.fit_transform(components), np.float32)


def _pacmap(components: Vector, seed: int) -> Positions:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that a seed makes runs alike: that is what it is for
        import pacmap

        logging.getLogger("pacmap").setLevel(logging.ERROR)
        layout = pacmap.PaCMAP(n_neighbors=10, random_state=seed, apply_pca=False)
        return np.asarray(layout.fit_transform(components, init="pca"), np.float32)
