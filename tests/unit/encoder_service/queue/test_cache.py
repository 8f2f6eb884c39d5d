"""The text cache and its bound."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoder_service.inputs.texts import TextInput
from encoder_service.queue.cache import TextCache

DONE = TextInput(tokens=4)


def vector(number: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.full(64, number, dtype=np.float32)


def test_a_text_is_found_by_its_exact_letters() -> None:
    cache = TextCache(100_000)
    cache.put("a cat", vector(1), DONE)
    found = cache.get("a cat")
    assert found is not None
    assert found.vector.tolist() == vector(1).tolist()
    assert found.input == DONE
    assert cache.get("A cat") is None
    assert cache.get("a cat ") is None
    assert (cache.hits, cache.misses) == (1, 2)


def test_a_cached_vector_cannot_be_changed_and_does_not_keep_its_batch() -> None:
    cache = TextCache(100_000)
    batch = np.zeros((32, 64), dtype=np.float32)
    cache.put("a cat", batch[3], DONE)
    batch[3] = 9
    found = cache.get("a cat")
    assert found is not None
    assert found.vector.base is None
    assert found.vector.tolist() == [0] * 64
    with pytest.raises(ValueError, match="read-only"):
        found.vector[0] = 1


def test_the_least_recently_used_text_goes_first() -> None:
    cache = TextCache(3 * 800)
    for name in ("a", "b", "c"):
        cache.put(name, vector(0), DONE)
    cache.get("a")
    cache.put("d", vector(0), DONE)
    assert [name for name in "abcd" if cache.get(name)] == ["a", "c", "d"]


@given(st.lists(st.text(max_size=400), max_size=60), st.sampled_from([0, 5_000]))
def test_the_bound_holds_whatever_is_put_in(texts: list[str], most: int) -> None:
    cache = TextCache(most)
    for text in texts:
        cache.put(text, vector(0), DONE)
        assert cache.size <= most


def test_the_size_that_is_counted_is_the_memory_that_is_taken() -> None:
    tracemalloc.start()
    try:
        cache = TextCache(10**9)
        for number in range(5_000):
            cache.put(f"an image of thing number {number}", vector(0), TextInput(number))
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert taken <= 1.05 * cache.size
    assert cache.size <= 1.25 * taken
