"""How many points a search of compressed vectors fetches."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from search_service.query.ranking import candidates, with_defaults
from search_service.stores.protocol import (
    BinaryEncoding,
    CollectionSpec,
    Quantization,
    QuantizationParams,
    VectorQuery,
)

COMPRESSED = [
    ("scalar", {}),
    *(("turbo", {"bits": bits}) for bits in (0.0, 1.0, 1.5, 2.0, 4.0, 8.0)),
    *(("product", {"compression": times}) for times in (4, 8, 16, 32, 64)),
    *(("binary", {"encoding": encoding}) for encoding in get_args(BinaryEncoding)),
]
QUERY = VectorQuery(np.zeros(4, dtype=np.float32), "image", 10)


def spec(quantization: Quantization, **params: object) -> CollectionSpec:
    return CollectionSpec(
        "c", 512, "f", quantization=quantization, quantization_params=QuantizationParams(**params)
    )


BINARY = spec("binary")


@pytest.mark.parametrize(("quantization", "params"), COMPRESSED)
def test_every_compression_that_there_is_fetches_more(quantization, params):
    made = spec(quantization, **params)
    asked = with_defaults(QUERY, made)
    assert asked.oversampling * QUERY.limit == pytest.approx(candidates(made))
    assert asked.rescore
    assert asked.oversampling > 1


def test_whole_vectors_are_fetched_once_with_a_smaller_beam_than_the_engines():
    assert candidates(spec("none")) == 0
    asked = with_defaults(QUERY, spec("none"))
    assert asked == replace(QUERY, hnsw_ef=asked.hnsw_ef)
    assert QUERY.limit < asked.hnsw_ef < 100


@pytest.mark.parametrize("said", [{"hnsw_ef": 20}, {"exact": True}])
def test_a_beam_that_the_caller_or_the_collection_says_stands(said):
    query = replace(QUERY, **said)
    assert with_defaults(query, spec("none")) is query
    assert with_defaults(QUERY, replace(spec("none"), hnsw_ef_construct=400)) is QUERY


@pytest.mark.parametrize(
    "said", [{"oversampling": 2.0}, {"oversampling": 1.0}, {"exact": True}, {"rescore": False}]
)
def test_what_the_caller_says_stands(said):
    query = replace(QUERY, **said)
    assert with_defaults(query, BINARY) is query


def test_lists_of_every_length_come_of_the_same_candidates_up_to_a_quarter_of_them():
    fetched = {
        round((offset + limit) * with_defaults(asked, BINARY).oversampling)
        for limit, offset in ((1, 0), (10, 0), (50, 100), (160, 0))
        for asked in [replace(QUERY, limit=limit, offset=offset)]
    }
    assert fetched == {candidates(BINARY)}
    assert with_defaults(replace(QUERY, limit=500), BINARY).oversampling == 4
