"""How a source's items are cut into batches."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clipsearch.ingest.source import Item
from clipsearch.ingest.stream import Stream


@given(
    sizes=st.lists(st.integers(0, 60), max_size=20), most=st.integers(1, 6), most_bytes=st.integers(1, 100)
)
def test_batches_keep_order_and_bounds(sizes, most, most_bytes):
    items = [Item(position, "", size=size) for position, size in enumerate(sizes)]
    stream = Stream(iter(items), most_bytes)
    cut = []
    while batch := stream.take(most):
        cut.append(batch)
    assert [item for batch in cut for item in batch] == items
    for batch in cut:
        assert len(batch) <= most
        assert len(batch) == 1 or sum(item.size for item in batch) <= most_bytes
