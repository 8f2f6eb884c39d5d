"""Lists are cut into parts that a call takes, and nothing is lost or moved."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from clipsearch.channel.batches import parts

BYTES = st.lists(st.binary(max_size=12))


@given(items=BYTES, most=st.integers(1, 5), most_bytes=st.integers(1, 20))
def test_the_parts_are_the_list_within_both_bounds_but_for_items_that_are_larger(items, most, most_bytes):
    found = list(parts(items, most, most_bytes))

    assert list(itertools.chain(*found)) == items
    assert all(0 < len(part) <= most for part in found)
    assert all(sum(map(len, part)) <= most_bytes for part in found if len(part) > 1)


@given(items=BYTES, most=st.integers(1, 5), most_bytes=st.integers(1, 20))
def test_no_part_could_have_held_the_next_item_too(items, most, most_bytes):
    for part, following in itertools.pairwise(parts(items, most, most_bytes)):
        assert len(part) == most or sum(map(len, part)) + len(following[0]) > most_bytes


def test_pictures_are_read_as_they_are_needed():
    read = []
    first = next(parts((read.append(n) or b"x" for n in range(100)), 10, 1000))

    assert len(first) == 10
    assert len(read) == 11
