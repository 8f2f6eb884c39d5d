"""Comparisons of vectors, each one line of the parity report. Pure numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from encoder_service.bundle import ParityCheck, Precision, Tower, Vectors
from encoder_service.export import ExportError
from encoder_service.runtime.session import KNOWN_ANSWER_BOUNDS

# A graph against the network that it was made from.
MIN_COSINE_TO_TORCH = 0.99999
# The library's own preprocessing against ours, steps of 255 on average over the worst image.
MAX_MEAN_STEPS = 0.5
# The library's own tokenizer against the bundle's: a tokenizer.json cannot say all that `ftfy` mends.
MIN_EQUAL_TOKENS = 0.95
# Another way through the same fp32 graph: other batch, other padding.
MAX_DIFFERENCE_FP32 = 1e-5
# A lower precision against fp32.
MIN_MEAN_COSINE = 0.99
MIN_COSINE_FP16 = 0.999
MAX_RECALL_LOST = 1.0
# A lower precision with and without batch-mates.
MIN_COSINE_TO_ALONE = 0.999

RECALL_AT = 10


def at_least(name: str, tower: Tower, metric: str, value: float, bound: float, samples: int) -> ParityCheck:
    """A figure that must not be under its bound."""
    return _check(name, tower, metric, value, bound, value >= bound, samples)


def at_most(name: str, tower: Tower, metric: str, value: float, bound: float, samples: int) -> ParityCheck:
    """A figure that must not be over its bound."""
    return _check(name, tower, metric, value, bound, value <= bound, samples)


def reported(name: str, tower: Tower, metric: str, value: float, samples: int) -> ParityCheck:
    """A figure that is reported and not judged."""
    return _check(name, tower, metric, value, None, True, samples)


def _check(
    name: str, tower: Tower, metric: str, value: float, bound: float | None, passed: bool, samples: int
) -> ParityCheck:
    if not np.isfinite(value):
        raise ExportError(f"{name}, {tower}: the graph gives numbers that are not finite")
    return ParityCheck(
        name=name, tower=tower, metric=metric, value=value, bound=bound, passed=passed, samples=samples
    )


def against_torch(tower: Tower, vectors: Vectors, reference: Vectors) -> ParityCheck:
    """fp32 graph against its library's own forward pass, float32 [n, dimension] both."""
    lowest = float(cosines(vectors, reference).min())
    name = "fp32 against torch"
    return at_least(name, tower, "minimum cosine", lowest, MIN_COSINE_TO_TORCH, len(vectors))


def own_pixels(steps: float, samples: int) -> ParityCheck:
    """The mean difference of pixels to the library's own preprocessing, of 255."""
    return at_most(
        "pixels against the library's own", "image", "mean difference", steps, MAX_MEAN_STEPS, samples
    )


def own_tokens(share: float, samples: int) -> ParityCheck:
    """The share of texts with the ids that the library's own tokenizer gives."""
    return at_least(
        "tokens against the library's own", "text", "share equal", share, MIN_EQUAL_TOKENS, samples
    )


def known_answer(tower: Tower, precision: Precision, vectors: Vectors, known: Vectors) -> ParityCheck:
    """Vectors [1, dimension] against the manifest's, [dimension], by the bound that servers ask for."""
    cosine = float(cosines(vectors, known[np.newaxis]).min())
    name, bound = f"{precision} against the known answer", KNOWN_ANSWER_BOUNDS[precision]
    return at_least(name, tower, "cosine", cosine, bound, len(vectors))


def same_vectors(name: str, tower: Tower, vectors: Vectors, others: Vectors) -> ParityCheck:
    """Two ways through the fp32 graph that must not differ."""
    largest = float(np.abs(vectors - others).max())
    return at_most(name, tower, "largest difference", largest, MAX_DIFFERENCE_FP32, len(vectors))


def batch_mates(tower: Tower, precision: Precision, together: Vectors, alone: Vectors) -> ParityCheck:
    """The same items in one batch and one by one."""
    name = f"{precision} in a batch against alone"
    if precision == "fp32":
        return same_vectors(name, tower, together, alone)
    lowest = float(cosines(together, alone).min())
    return at_least(name, tower, "minimum cosine", lowest, MIN_COSINE_TO_ALONE, len(together))


def against_fp32(
    tower: Tower, precision: Precision, vectors: Vectors, fp32: Vectors, group_size: int
) -> list[ParityCheck]:
    """A lower precision against fp32; `group_size` rows that follow one another belong together."""
    name, cosine, n = f"{precision} against fp32", cosines(vectors, fp32), len(vectors)
    lost = 100 * (recall_among(fp32, group_size) - recall_among(vectors, group_size))
    return [
        at_least(name, tower, "mean cosine", float(cosine.mean()), MIN_MEAN_COSINE, n),
        _lowest(name, tower, precision, float(cosine.min()), n),
        at_most(name, tower, f"R@{RECALL_AT} lost, points", lost, MAX_RECALL_LOST, n),
    ]


def _lowest(name: str, tower: Tower, precision: Precision, value: float, samples: int) -> ParityCheck:
    if precision == "fp16":
        return at_least(name, tower, "minimum cosine", value, MIN_COSINE_FP16, samples)
    return reported(name, tower, "minimum cosine", value, samples)


def cosines(left: Vectors, right: Vectors) -> NDArray[np.float64]:
    """Row by row, float64 [n]; the rows need not have length 1."""
    a, b = left.astype(np.float64), right.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    result: NDArray[np.float64] = (a * b).sum(axis=1) / lengths
    return result


def recall_among(vectors: Vectors, group_size: int) -> float:
    """R@10 of each row among the others, relevant being the rest of its group; 0 to 1."""
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    group = np.arange(len(vectors)) // group_size
    return recall(scores, (group[:, np.newaxis] == group) & ~np.eye(len(vectors), dtype=bool))


def recall(scores: Vectors, relevant: NDArray[np.bool_]) -> float:
    """R@10 of queries [q] over a gallery [g]: of what is relevant, the share found, at most 10 each.

    Ties go to the earlier item. Every query must have something relevant.
    """
    first = np.argsort(-scores, axis=1, kind="stable")[:, :RECALL_AT]
    found = np.take_along_axis(relevant, first, axis=1).sum(axis=1)
    return float((found / np.minimum(relevant.sum(axis=1), RECALL_AT)).mean())
