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


def check(
    name: str,
    tower: Tower,
    metric: str,
    value: float,
    samples: int,
    *,
    least: float | None = None,
    most: float | None = None,
) -> ParityCheck:
    """A figure that must not be under `least`, or over `most`; without either it is reported and not judged.

    Raises ExportError for one that is not finite.
    """
    if not np.isfinite(value):
        raise ExportError(f"{name}, {tower}: the graph gives numbers that are not finite")
    bound = most if least is None else least
    passed = (least is None or value >= least) and (most is None or value <= most)
    return ParityCheck(
        name=name, tower=tower, metric=metric, value=value, bound=bound, passed=passed, samples=samples
    )


def against_torch(tower: Tower, vectors: Vectors, reference: Vectors) -> ParityCheck:
    """fp32 graph against its library's own forward pass, float32 [n, dimension] both."""
    lowest, n = float(cosines(vectors, reference).min()), len(vectors)
    return check("fp32 against torch", tower, "minimum cosine", lowest, n, least=MIN_COSINE_TO_TORCH)


def known_answer(tower: Tower, precision: Precision, vectors: Vectors, known: Vectors) -> ParityCheck:
    """Vectors [1, dimension] against the manifest's, [dimension], by the bound that servers ask for."""
    cosine = float(cosines(vectors, known[np.newaxis]).min())
    name, least = f"{precision} against the known answer", KNOWN_ANSWER_BOUNDS[precision]
    return check(name, tower, "cosine", cosine, len(vectors), least=least)


def same_vectors(name: str, tower: Tower, vectors: Vectors, others: Vectors) -> ParityCheck:
    """Two ways through the fp32 graph that must not differ."""
    largest = float(np.abs(vectors - others).max())
    return check(name, tower, "largest difference", largest, len(vectors), most=MAX_DIFFERENCE_FP32)


def batch_mates(tower: Tower, precision: Precision, together: Vectors, alone: Vectors) -> ParityCheck:
    """The same items in one batch and one by one."""
    name = f"{precision} in a batch against alone"
    if precision == "fp32":
        return same_vectors(name, tower, together, alone)
    lowest = float(cosines(together, alone).min())
    return check(name, tower, "minimum cosine", lowest, len(together), least=MIN_COSINE_TO_ALONE)


def against_fp32(
    tower: Tower, precision: Precision, vectors: Vectors, fp32: Vectors, group_size: int
) -> list[ParityCheck]:
    """A lower precision against fp32; `group_size` rows that follow one another belong together."""
    name, cosine, n = f"{precision} against fp32", cosines(vectors, fp32), len(vectors)
    lost = 100 * (recall_among(fp32, group_size) - recall_among(vectors, group_size))
    mean, lowest = float(cosine.mean()), float(cosine.min())
    return [
        check(name, tower, "mean cosine", mean, n, least=MIN_MEAN_COSINE),
        check(
            name, tower, "minimum cosine", lowest, n, least=MIN_COSINE_FP16 if precision == "fp16" else None
        ),
        check(name, tower, f"R@{RECALL_AT} lost, points", lost, n, most=MAX_RECALL_LOST),
    ]


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
