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
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from clipsearch.client.types import Vector
from clipsearch.map.sample import IMAGE, TEXT

Positions = NDArray[np.float32]

_COMPONENTS = 50
_EXACT_BELOW = 1000


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
    # Many by the covariance, which needs no second copy of them; of a few, that would be the larger matrix.
    few = len(vectors) < vectors.shape[1]
    solver = "full" if few else "covariance_eigh"
    # The full solver centres in place what it may not copy.
    pca = PCA(min(_COMPONENTS, *vectors.shape), svd_solver=solver, copy=few)
    components = pca.fit_transform(vectors)
    if len(vectors) < 4 or not components.any():
        placed = components[:, :2]
    elif len(vectors) < _EXACT_BELOW:
        perplexity = min(30.0, (len(components) - 1) / 3)
        tsne = TSNE(perplexity=perplexity, init="pca", method="exact", random_state=seed)
        placed = tsne.fit_transform(components)
    else:
        placed = _pacmap(components, seed)
    placed = placed - placed.mean(axis=0)
    return np.asarray(placed / max(float(np.abs(placed).max()), 1e-12), np.float32)


def _pacmap(components: Vector, seed: int) -> Positions:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that a seed makes runs alike: that is what it is for
        import pacmap

        logging.getLogger("pacmap").setLevel(logging.ERROR)
        layout = pacmap.PaCMAP(n_neighbors=10, random_state=seed, apply_pca=False)
        return np.asarray(layout.fit_transform(components, init="pca"), np.float32)
