"""Collections and their successors: which collections a write goes to, and in which order.

While a collection moves to a new model, its successor gets every write too. The collection itself
is written first, so that a point which only the successor has is one that was deleted. Linked
writes go one after another, so that two of one point end alike in both.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import TypeAlias, TypeVar

from clipsearch.serving.errors import NotFound, ServiceError
from search_service.stores.collection import CollectionSpec
from search_service.stores.protocol import VectorStore

Result = TypeVar("Result")
Chain: TypeAlias = tuple[CollectionSpec, ...]
"""A collection, its successor if it has one, that one's successor, and so on; each once."""


class Successors:
    """Follows the links."""

    def __init__(self, store: VectorStore) -> None:
        self._store = store
        self._order = asyncio.Lock()

    async def chain(self, collection: str) -> Chain:
        """What a write to the collection, by name or alias, goes to. Raises NotFound for the first only."""
        found = {}
        spec = await self._store.resolve(collection)
        while True:
            found[spec.name] = spec
            if not spec.successor or spec.successor in found:  # linked in a circle, for a way back
                return tuple(found.values())
            try:
                spec = await self._store.resolve(spec.successor)
            except NotFound:  # deleted just now; the link goes with it
                return tuple(found.values())

    async def write(self, collection: str, do: Callable[[CollectionSpec], Awaitable[Result]]) -> Result:
        """Does a write to all of the collection's chain; its result on the collection itself.

        `do` is called once more where the collection has got successors meanwhile.
        """
        results: list[Result] = []
        while True:
            chain = await self.chain(collection)
            async with self.writing(collection, chain) as unchanged:
                if not unchanged:
                    continue
                results.append(await on_each(chain, do))
            if not await self.unheard(chain):
                return results[0]
            collection = chain[0].name

    @asynccontextmanager
    async def writing(self, collection: str, chain: Chain) -> AsyncIterator[bool]:
        """The block is the only linked write. Yields False if the collection's links have changed since."""
        async with self._order if len(chain) > 1 else nullcontext():
            yield _names(await self.chain(collection)) == _names(chain)

    async def unheard(self, chain: Chain) -> bool:
        """True if the collection that was written has got successors since that are not in `chain`.

        A write may take longer than `settles_after_s`: what fills the new successor may have passed its
        points before they were there.
        """
        try:
            later = await self.chain(chain[0].name)
        except NotFound:  # deleted just now
            return False
        except ServiceError as error:
            error.message = (
                f"done on {chain[0].name!r}, but whether it has got a successor meanwhile is not known; "
                f"try again: {error.message}"
            )
            raise
        return not {*_names(later)} <= {*_names(chain)}


async def on_each(chain: Chain, do: Callable[[CollectionSpec], Awaitable[Result]]) -> Result:
    """Does the same to each, in their order; the result of the first."""
    result = await do(chain[0])
    for successor in chain[1:]:
        with on_successor(chain, successor):
            await do(successor)
    return result


@contextmanager
def on_successor(chain: Chain, successor: CollectionSpec) -> Iterator[None]:
    """Errors of the block are told as lying with the successor: the collection itself is written."""
    try:
        yield
    except ServiceError as error:
        error.message = (
            f"done on {chain[0].name!r}, but not on its successor {successor.name!r}; try again: "
            f"{error.message}"
        )
        error.metadata = {**error.metadata, "successor": successor.name}
        raise


def _names(chain: Chain) -> list[str]:
    return [spec.name for spec in chain]
