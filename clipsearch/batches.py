"""Long lists in batches that a call takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def batched(
    items: Iterable[Item],
    most: int | Callable[[], int],
    most_bytes: int | None = None,
    size_of: Callable[[Item], int] = len,  # type: ignore[assignment]
) -> Iterator[list[Item]]:
    """`items` in order, in lists of at most `most` and of about `most_bytes` bytes; none is empty.

    Sizes count only with `most_bytes`. A longer item is a list by itself. Takes no more of `items` than it
    needs for the next list. `most` may be asked anew for each.
    """
    batch: list[Item] = []
    size = 0
    for item in items:
        length = 0 if most_bytes is None else size_of(item)
        if batch and most_bytes is not None and size + length > most_bytes:
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += length
        if len(batch) >= (most() if callable(most) else most):
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
