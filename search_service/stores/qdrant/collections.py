"""The collections on a Qdrant server: described, made, changed, linked and deleted.

Those that are somebody else's are neither listed nor touched, see known.py.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from qdrant_client import models

from clipsearch.serving.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    NotFound,
    ServiceError,
    Unavailable,
)
from search_service.deadline import store_within, time_left
from search_service.stores.bm25 import WORDS
from search_service.stores.checks import check_name, index_conflict
from search_service.stores.collection import (
    CollectionInfo,
    CollectionSpec,
    Optimizers,
    PayloadIndex,
)
from search_service.stores.protocol import VECTOR_NAMES
from search_service.stores.qdrant.calls import Send
from search_service.stores.qdrant.errors import check_done
from search_service.stores.qdrant.known import FRESH_S, KnownCollections
from search_service.stores.qdrant.spec import (
    CALIBRATION,
    SUCCESSOR,
    alteration,
    creation,
    index_schema,
    read_spec,
)

# A cluster's nodes apply a change one after the other, on a healthy one within 25 ms. As reads take turns on
# the nodes, so many in a row that see it say that all have.
_SEEN_IN_A_ROW = 9
_ALL_SEE_IT_WITHIN_S = 2.0
# An answer about a collection of a list: one that has lost its only copy must not keep the others waiting. So
# many collections at a time: of 600 at once, with four calls each, none was described within that time.
_DESCRIBED_WITHIN_S = 2.0
_DESCRIBED_AT_ONCE = 16


class ServerCollections(KnownCollections):
    """What QdrantServer does with collections as a whole."""

    async def set_calibration(self, collection: str, calibration: Mapping[str, Any]) -> None:
        """Keeps it in the collection's metadata. Other services know it when their nodes do."""
        await self._merge_metadata(collection, {CALIBRATION: dict(calibration)})
        self._generation += 1
        for name, known in self._known.items():
            if known.spec.name == collection:
                self._known[name] = replace(known, calibration=calibration)

    async def create_collection(self, spec: CollectionSpec) -> None:
        """Creates a collection and its payload indexes, or nothing. Raises AlreadyExists."""
        check_name("name", spec.name)
        if spec.name in await self._aliases():
            raise AlreadyExists("collection", spec.name, taken_by="an alias")

        async def create(timeout: int) -> None:
            if await self._nodes.collection_exists(spec.name):
                raise AlreadyExists("collection", spec.name)
            await self._nodes.create_collection(spec.name, **creation(spec), timeout=timeout)
            try:
                for key, index in spec.payload_indexes.items():
                    await self._nodes.create_payload_index(spec.name, key, index_schema(index))
            except BaseException:
                await self._nodes.delete_collection(spec.name)
                raise

        await self._calls.once(spec.name, create)
        self._forget()

    async def update_collection(self, collection: str, changes: Mapping[str, Any]) -> None:
        """Changes settings; the server's optimizers do the rest."""
        spec = (await self._ask(collection, collection)).spec
        change = partial(self._nodes.update_collection, collection, **alteration(spec, changes))
        await self._calls.write(collection, change)

        async def so_here(timeout: int) -> bool:
            found = read_spec(collection, await self._nodes.get_collection(collection))
            return found is not None and all(_is_set(getattr(found, n), v) for n, v in changes.items())

        await self._seen_by_all(collection, so_here)

    async def get_collection(self, collection: str) -> CollectionInfo:
        """The collection as it stands. Raises NotFound for an alias."""
        aliases = await self._aliases()
        if collection in aliases:
            raise NotFound("collection", collection)
        return await self._describe(collection, aliases, exact=True)

    async def list_collections(self) -> list[CollectionInfo]:
        """All collections made by clipsearch, by name; one that cannot be described says why."""
        aliases = await self._aliases()
        names = await self._names()
        room = asyncio.Semaphore(_DESCRIBED_AT_ONCE)
        infos = await asyncio.gather(*(self._described(name, aliases, room) for name in names))
        return [info for info in infos if info is not None]

    async def delete_collection(self, collection: str) -> None:
        """Deletes the collection, the aliases that point at it and the links to it as a successor."""
        aliases = await self._aliases()
        if collection in aliases:
            raise NotFound("collection", collection)
        await self._ask(collection, collection)
        for name in await self._names():
            try:
                linked = (await self._ask(name, name)).spec.successor == collection
            except ServiceError:
                continue  # gone meanwhile, or not ours: no link to mend
            if linked:
                await self.set_successor(name, "")

        async def gone_here(timeout: int) -> bool:
            return not await self._nodes.collection_exists(collection)

        # With the aliases that point at it by then.
        await self._calls.once(collection, partial(self._nodes.delete_collection, collection))
        await self._seen_by_all(collection, gone_here)

    async def set_alias(self, alias: str, collection: str | None) -> str:
        """Points `alias` at a collection, or removes it, in one step; returns where it pointed."""
        check_name("alias", alias)
        aliases = await self._aliases()
        previous = aliases.get(alias, "")
        operations: list[models.AliasOperations] = []
        if previous:
            delete = models.DeleteAlias(alias_name=alias)
            operations.append(models.DeleteAliasOperation(delete_alias=delete))
        if collection is not None:
            if collection in aliases:
                raise NotFound("collection", collection)
            if not previous and await self._calls.read(
                alias, lambda timeout: self._nodes.collection_exists(alias)
            ):
                raise AlreadyExists("alias", alias, taken_by="a collection")
            await self._ask(collection, collection)
            create = models.CreateAlias(collection_name=collection, alias_name=alias)
            operations.append(models.CreateAliasOperation(create_alias=create))
        elif not previous:
            raise NotFound("alias", alias)
        change = partial(self._nodes.update_collection_aliases, operations)
        await self._calls.once(alias, change)

        async def moved_here(timeout: int) -> bool:
            found = (await self._nodes.get_aliases()).aliases
            return {a.alias_name: a.collection_name for a in found}.get(alias) == collection

        await self._seen_by_all(alias, moved_here)
        return previous

    async def set_successor(self, collection: str, successor: str) -> float:
        """Keeps the successor in the collection's metadata; other services know within FRESH_S."""
        await self._ask(collection, collection)
        if successor:
            await self._ask(successor, successor)
        await self._merge_metadata(collection, {SUCCESSOR: successor})

        async def kept_here(timeout: int) -> bool:
            kept = (await self._nodes.get_collection(collection)).config.metadata or {}
            return kept.get(SUCCESSOR) == successor

        await self._seen_by_all(collection, kept_here)
        return FRESH_S

    async def create_payload_index(self, collection: str, key: str, index: PayloadIndex) -> None:
        """Adds a payload index; FailedPrecondition if the field has another one."""
        there = (await self._ask(collection, collection)).spec.payload_indexes.get(key)
        if there == index:
            return
        if there is not None:
            raise index_conflict(collection, key, there, index)
        add = partial(self._nodes.create_payload_index, collection, key, index_schema(index), wait=True)
        await self._change_index(collection, key, add, there=True)

    async def delete_payload_index(self, collection: str, key: str) -> None:
        """Removes the payload index of a field; nothing, if it has none."""
        if key not in (await self._ask(collection, collection)).spec.payload_indexes:
            return
        remove = partial(self._nodes.delete_payload_index, collection, key, wait=True)
        await self._change_index(collection, key, remove, there=False)

    async def _change_index(
        self, collection: str, key: str, change: Send[models.UpdateResult], there: bool
    ) -> None:
        result = await self._calls.write(collection, change)
        check_done(result.status == models.UpdateStatus.COMPLETED)

        async def seen_here(timeout: int) -> bool:
            return (key in (await self._nodes.get_collection(collection)).payload_schema) is there

        await self._seen_by_all(collection, seen_here)

    async def _merge_metadata(self, collection: str, facts: dict[str, object]) -> None:
        """The server merges the keys into those that are there, so writers of others lose nothing."""
        merge = partial(self._nodes.update_collection, collection, metadata=facts)
        await self._calls.write(collection, merge)

    async def _seen_by_all(self, collection: str, seen: Send[bool]) -> None:
        """Waits until all nodes see a change, so that who reads next sees it; not for one that is away.

        Nor is what was known before the change taken from memory then.
        """
        in_a_row = 0
        with suppress(DeadlineExceeded):
            async with store_within(_ALL_SEE_IT_WITHIN_S):
                while in_a_row < _SEEN_IN_A_ROW:
                    try:
                        in_a_row = in_a_row + 1 if await self._calls.once(collection, seen) else 0
                    except (Unavailable, DeadlineExceeded, NotFound):
                        in_a_row = 0
                    if not in_a_row:
                        await asyncio.sleep(0.01)
        self._forget()

    async def _names(self) -> list[str]:
        found = await self._calls.read("", lambda timeout: self._nodes.get_collections())
        return sorted(collection.name for collection in found.collections)

    async def _described(
        self, name: str, aliases: Mapping[str, str], room: asyncio.Semaphore
    ) -> CollectionInfo | None:
        """With what is wrong with it; None for one that is not ours, or gone since it was listed."""
        try:
            async with room:
                return await self._describe(name, aliases, exact=False, within=_DESCRIBED_WITHIN_S)
        except (NotFound, FailedPrecondition):
            return None
        except ServiceError as error:  # it is being made or deleted, or has lost its only copy
            time_left()  # a caller whose time is over is told so, and of no damage
            return CollectionInfo(CollectionSpec(name, 0, ""), damage=error.message)

    async def _describe(
        self, name: str, aliases: Mapping[str, str], *, exact: bool, within: float = math.inf
    ) -> CollectionInfo:
        """Its counts are estimates unless `exact`, and where its strict mode forbids to count.

        Each answer of the server may take `within` seconds. It does not tell what it takes on its disks.
        """
        async with store_within(within):
            known, described = await self._read(name, name)
        exact = exact and known.limits.allows_exact

        async def count(has: str | None) -> int:
            condition = models.Filter(must=[models.HasVectorCondition(has_vector=has)]) if has else None
            ask = partial(self._nodes.count, name, condition, exact=exact)
            async with store_within(within):
                return (await self._calls.read(name, ask)).count

        points, *counts = await asyncio.gather(*(count(has) for has in (None, *VECTOR_NAMES)))
        total = sum(counts)
        indexed = described.indexed_vectors_count or 0
        if known.spec.bm25_field:  # of which the server counts all
            indexed = max(0, indexed - await count(WORDS))
        return CollectionInfo(
            spec=known.spec,
            points=points,
            image_vectors=counts[0],
            text_vectors=counts[1],
            indexed_share=min(1.0, indexed / total) if total else 0.0,
            aliases=tuple(sorted(alias for alias, of in aliases.items() if of == name)),
        )


def _is_set(found: Any, value: Any) -> bool:
    """Whether a setting is as it was asked for; of optimizers, what was."""
    if not isinstance(value, Optimizers):
        return bool(found == value)
    return all(wanted in (None, getattr(found, name)) for name, wanted in asdict(value).items())
