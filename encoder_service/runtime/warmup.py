"""What a session must show before it serves: the known answer, and which batch suits this machine."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from encoder_service.bundle import Precision, decode_vector
from encoder_service.runtime.session import SessionError, Vectors

Item = TypeVar("Item")

# Cosine to the vectors that the fp32 graphs gave when the bundle was made.
KNOWN_ANSWER_BOUNDS: dict[Precision, float] = {"fp32": 0.999, "fp16": 0.999, "int8": 0.98}

# The smallest batch within this share of the best rate: a larger one only makes callers wait.
_GOOD_ENOUGH = 0.95


def check_known_answer(
    name: str, vector: NDArray[np.float32], known: str, precision: Precision, advice: str = ""
) -> None:
    """Compares a vector, float32 [dimension], with the manifest's.

    Raises SessionError, at its end the `advice`.
    """
    expected = decode_vector(known)
    if vector.shape != expected.shape:
        raise SessionError(f"the {name} graph gives {vector.shape} numbers, the manifest {expected.shape}")
    lengths = float(np.linalg.norm(vector) * np.linalg.norm(expected))
    cosine = float(vector @ expected) / lengths if lengths else 0.0
    bound = KNOWN_ANSWER_BOUNDS[precision]
    if not cosine >= bound:  # NaN fails too
        raise SessionError(
            f"the {name} graph ({precision}) does not give the known answer: cosine {cosine:.5f}, "
            f"at least {bound} is asked for; the CPU, the runtime or the bundle is not what it was{advice}"
        )


def best_batch(
    run: Callable[[Sequence[Item]], Vectors], item: Item, smallest: int, largest: int, budget_s: float
) -> int:
    """The number of items a batch should have at most, measured with copies of `item` for `budget_s` seconds.

    Tries 1, 2, 4, ... and goes round them again while there is time; the best run of each size counts,
    so that a neighbour who is busy for a moment does not decide. Never below `smallest`: handing
    batches over costs something too, which a session alone does not show.
    """
    run([item])
    end = time.perf_counter() + budget_s
    best = {1: _seconds(run, [item])}
    while (size := 2 * max(best)) <= largest and 2 * best[size // 2] < end - time.perf_counter():
        best[size] = _seconds(run, [item] * size)
    for size in itertools.cycle(sorted(best, reverse=True)):
        if best[size] > end - time.perf_counter():
            break
        best[size] = min(best[size], _seconds(run, [item] * size))
    rates = {size: size / seconds for size, seconds in best.items()}
    enough = _GOOD_ENOUGH * max(rates.values())
    return max(smallest, next(size for size in sorted(rates) if rates[size] >= enough))


def _seconds(run: Callable[[Sequence[Item]], Vectors], items: Sequence[Item]) -> float:
    start = time.perf_counter()
    run(items)
    return time.perf_counter() - start
