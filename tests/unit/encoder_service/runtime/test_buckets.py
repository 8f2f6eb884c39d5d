"""Shapes that a card sees: every batch has one, and padding stays cheap."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoder_service.runtime.buckets import Bucket, picture_buckets, text_buckets


def test_pictures_go_into_the_smallest_batch_that_holds_them() -> None:
    buckets = picture_buckets(512)
    assert [buckets.fit(items).batch for items in (1, 3, 16, 17, 33, 385, 512)] == [
        1,
        4,
        16,
        24,
        48,
        512,
        512,
    ]
    with pytest.raises(ValueError, match="no bucket holds 513 items"):
        buckets.fit(513)


def test_the_largest_batch_is_the_one_asked_for() -> None:
    assert [bucket.batch for bucket in picture_buckets(20).all] == [1, 2, 4, 8, 16, 20]
    assert picture_buckets(1).all == (Bucket(1),)
    assert picture_buckets(20).capacity == 20


def test_texts_go_by_length_first() -> None:
    buckets = text_buckets(8192, 77)
    assert buckets.fit(3, 14) == Bucket(4, 16)
    assert buckets.fit(1, 77) == Bucket(1, 77)
    assert {bucket.length for bucket in buckets.all} == {8, 16, 24, 32, 48, 64, 77}
    with pytest.raises(ValueError, match="78 tokens"):
        buckets.length(78)


def test_texts_that_fill_the_context_have_one_length() -> None:
    assert {bucket.length for bucket in text_buckets(4096, 64, one_length=True).all} == {64}


@given(st.integers(1, 20_000), st.integers(1, 512), st.data())
def test_whatever_the_batcher_puts_together_has_a_bucket(
    most: int, context: int, data: st.DataObject
) -> None:
    buckets = text_buckets(most, context)
    tokens = data.draw(st.integers(1, context))
    length = buckets.length(tokens)
    items = data.draw(st.integers(1, max(1, min(buckets.capacity, most) // length)))
    bucket = buckets.fit(items, tokens)
    assert bucket.batch >= items
    assert bucket.length >= tokens
    assert bucket.batch <= max(2 * items, 1)
    if items >= 16:
        assert bucket.batch <= 1.5 * items


def test_a_bucket_that_does_not_fit_into_memory_takes_the_larger_ones_along() -> None:
    buckets = text_buckets(1024, 16).without(Bucket(48, 16))
    assert buckets.most(16) == 32
    assert buckets.most(8) == 128
    assert buckets.capacity == 33 * 16 - 1  # 32 texts of 16 tokens, or 65 of 8: both have a bucket
    assert buckets.fit(buckets.capacity // 8, 8).batch >= 65
