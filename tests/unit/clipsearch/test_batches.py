"""Lists are cut into parts that a call takes, and nothing is lost or moved."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from clipsearch.batches import batched


@given(items=st.lists(st.binary(max_size=12)), most=st.integers(1, 5), most_bytes=st.integers(1, 20))
def test_the_batches_are_the_list_as_full_as_both_bounds_allow_but_for_items_that_are_larger(
    items, most, most_bytes
):
    found = list(batched(items, most, most_bytes))

    assert list(itertools.chain(*found)) == items
    assert all(0 < len(batch) <= most for batch in found)
    assert all(sum(map(len, batch)) <= most_bytes for batch in found if len(batch) > 1)
    for batch, following in itertools.pairwise(found):
        assert len(batch) == most or sum(map(len, batch)) + len(following[0]) > most_bytes


def test_items_are_read_as_they_are_needed():
    read = []
    first = next(batched((read.append(n) or b"x" for n in range(100)), 10, 1000))

    assert len(first) == 10
    assert len(read) == 10


def test_the_bound_may_change_from_one_list_to_the_next():
    bounds = iter([1, 2, 2, 3, 3, 3])
    assert list(batched(range(6), lambda: next(bounds))) == [[0], [1, 2], [3, 4, 5]]
