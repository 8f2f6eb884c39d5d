from __future__ import annotations

from typing import get_args

import pytest

from search_service.oversampling import default_oversampling, oversampling, with_default_oversampling
from search_service.queries import Query
from search_service.stores.protocol import (
    BinaryEncoding,
    CollectionSpec,
    Quantization,
    QuantizationParams,
)

COMPRESSED = [
    ("scalar", {}),
    *(("turbo", {"bits": bits}) for bits in (0.0, 1.0, 1.5, 2.0, 4.0, 8.0)),
    *(("product", {"compression": times}) for times in (4, 8, 16, 32, 64)),
    *(("binary", {"encoding": encoding}) for encoding in get_args(BinaryEncoding)),
]


def spec(quantization: Quantization, **params: object) -> CollectionSpec:
    return CollectionSpec(
        "c", 512, "f", quantization=quantization, quantization_params=QuantizationParams(**params)
    )


BINARY = spec("binary")


@pytest.mark.parametrize(("quantization", "params"), COMPRESSED)
def test_every_compression_that_there_is_fetches_more(quantization, params):
    made = spec(quantization, **params)
    assert default_oversampling(made) > 1
    assert with_default_oversampling(Query("c", ()), made).oversampling == default_oversampling(made)


def test_the_coarser_the_more():
    assert default_oversampling(spec("scalar")) < default_oversampling(spec("product", compression=16))
    assert default_oversampling(spec("product", compression=16)) < default_oversampling(BINARY)
    assert default_oversampling(spec("turbo", bits=4.0)) < default_oversampling(spec("turbo", bits=1.0))


def test_whole_vectors_are_fetched_once():
    assert default_oversampling(spec("none")) == 1
    assert with_default_oversampling(Query("c", ()), spec("none")) == Query("c", ())


@pytest.mark.parametrize(
    "query",
    [
        Query("c", (), oversampling=2.0),
        Query("c", (), oversampling=1.0),
        Query("c", (), exact=True),
        Query("c", (), rescore=False),
    ],
)
def test_what_the_caller_says_stands(query: Query):
    assert with_default_oversampling(query, BINARY) == query


def test_a_long_list_takes_no_more_than_a_thousand_or_four_times_its_length():
    fetched = [round(window * oversampling(BINARY, window), 6) for window in range(1, 5000)]
    assert fetched == sorted(fetched)
    assert fetched[9] == 10 * default_oversampling(BINARY)
    assert (fetched[99], fetched[999]) == (1000, 4000)
    assert with_default_oversampling(Query("c", (), limit=10, offset=90), BINARY).oversampling == 10
