"""Measures of rankings by ir-measures (trec_eval's definitions), and their intervals by SciPy's bootstrap."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ir_measures
import numpy as np
from ir_measures import RR, R, nDCG
from numpy.typing import NDArray
from scipy.stats import bootstrap

from clipsearch.eval.ask import Ranking
from clipsearch.eval.queries import Query

Values = NDArray[np.float64]

_RESAMPLES = 2000
_RESAMPLED_TOGETHER = 50  # a resample holds a number a query
_SEED = 0
_BOUND = re.compile(r"^(?P<measure>[a-z]+@\d+)=(?P<least>0(\.\d+)?|1(\.0+)?|\.\d+)$")


@dataclass(frozen=True, slots=True)
class Interval:
    """The mean over all queries, and where it would be in 95 of 100 sets of queries like these."""

    mean: float
    low: float
    high: float


def names(ks: Sequence[int]) -> list[str]:
    """recall@k for each k, MRR and nDCG for the largest."""
    return [*(f"recall@{k}" for k in sorted(ks)), f"mrr@{max(ks)}", f"ndcg@{max(ks)}"]


def per_query(queries: Sequence[Query], ranked: Sequence[Ranking], ks: Sequence[int]) -> dict[str, Values]:
    """For each of `names`, what each query reached, float64 [queries], 0 to 1.

    recall: share of the right points among the first k. mrr: 1 / rank of the first right point. ndcg: gains
    of the grades, discounted by the logarithm of the rank, as a share of the best order's.
    """
    most = max(ks)
    measures = dict(zip(names(ks), [*(R @ k for k in sorted(ks)), RR @ most, nDCG @ most], strict=True))
    of = {measure: name for name, measure in measures.items()}
    qrels = {str(i): dict(query.relevant) for i, query in enumerate(queries)}
    # Ranks and not scores: trec_eval orders equal scores by id.
    run = {str(i): {id: -float(rank) for rank, id in enumerate(ids)} for i, ids in enumerate(ranked)}
    values = {name: np.zeros(len(queries)) for name in measures}
    for found in ir_measures.iter_calc([*of], qrels, run):
        values[of[found.measure]][int(found.query_id)] = found.value
    return values


def interval(values: Values) -> Interval:
    """Mean and 95 % interval of at least two numbers, by the bootstrap's percentiles; the same each time."""
    found = bootstrap(
        (values,),
        np.mean,
        n_resamples=_RESAMPLES,
        batch=_RESAMPLED_TOGETHER,
        method="percentile",
        rng=np.random.default_rng(_SEED),
    ).confidence_interval
    return Interval(float(values.mean()), float(found.low), float(found.high))


def overlap(ranked: Sequence[Ranking], reference: Sequence[Ranking]) -> float:
    """The share of the reference's hits that are found, the mean over all queries."""
    shares = [len({*ids} & {*best}) / len(best) for ids, best in zip(ranked, reference, strict=True) if best]
    return float(np.mean(shares)) if shares else 1.0


def bounds(given: Sequence[str], ks: Sequence[int]) -> Mapping[str, float]:
    """What `recall@10=0.8` asks for, by measure. Raises ValueError."""
    asked = {}
    for words in given:
        match = _BOUND.match(words)
        if match is None:
            raise ValueError(f"{words!r}: write MEASURE=LEAST, such as recall@10=0.8; LEAST is 0 to 1")
        if match["measure"] not in names(ks):
            raise ValueError(f"{words!r}: measured are {', '.join(names(ks))}")
        asked[match["measure"]] = float(match["least"])
    return asked
