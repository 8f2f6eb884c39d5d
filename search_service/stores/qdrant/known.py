"""What is known of the collections on a Qdrant server: read by name or alias, and kept for a moment.

Our facts of a collection are kept in its own metadata on the server (Qdrant 1.16 and later). Collections
without them are somebody else's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextvars import Context
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from qdrant_client import AsyncQdrantClient, models

from clipsearch.serving.errors import DeadlineExceeded, FailedPrecondition, NotFound, Unavailable
from search_service.deadline import store_within
from search_service.stores.collection import CollectionSpec
from search_service.stores.protocol import VectorStore
from search_service.stores.qdrant.calls import ServerCalls
from search_service.stores.qdrant.spec import CALIBRATION, Limits, read_limits, read_spec

Ordering: TypeAlias = Literal["weak", "medium", "strong"]
ANY_COPY = 1
Consistency: TypeAlias = Literal["one", "majority", "quorum", "all"]

_WRITES_AT_ONCE = 8
# How long aliases and settings may be taken from memory; they are asked for again, in the background,
# when half of that has passed.
FRESH_S = 1.0
# Settings are asked of so many at once, and again until they agree.
_ASKED_AT_ONCE = 3
_ASKED_AGAIN = 10
_AGREE_S = 0.1


@dataclass(frozen=True, slots=True)
class Known:
    """A collection's settings as they were read at `read_at`, the moment before they were asked for.

    `calibration` is the same object as long as it does not change.
    """

    spec: CollectionSpec
    limits: Limits
    read_at: float
    calibration: Mapping[str, Any] | None = None


class KnownCollections(VectorStore):
    """Reads settings. `client` is for points, see QdrantServer for the other parameters.

    `nodes` has one connection to each node, on which calls in a row go to one node after the other.
    """

    def __init__(
        self,
        client: AsyncQdrantClient,
        timeout: float = 30.0,
        *,
        ordering: Ordering = "weak",
        consistency: Consistency = "one",
        nodes: AsyncQdrantClient | None = None,
    ) -> None:
        self._client = client
        self._nodes = nodes or client
        self._ordering = models.WriteOrdering(ordering)
        self._consistency: models.ReadConsistency = (
            ANY_COPY if consistency == "one" else models.ReadConsistencyType(consistency)
        )
        self._timeout = timeout
        self._calls = ServerCalls(timeout, lambda collection: self._limits(collection).timeout)
        self._writes = asyncio.Semaphore(_WRITES_AT_ONCE)
        self._known: dict[str, Known] = {}  # by the name that callers use, an alias as well
        self._asking: dict[tuple[str, int], asyncio.Task[Known]] = {}  # by name and generation
        self._generation = 0  # of what is known: answers to earlier questions may be of before a change

    async def close(self) -> None:
        """Ends what is still asked in the background, and the connections."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for client in {self._client, self._nodes}:
            await client.close()

    async def resolve(self, name: str) -> CollectionSpec:
        """The settings of a collection, by name or alias; at most FRESH_S old.

        Raises FailedPrecondition for a collection that clipsearch did not make.
        """
        return (await self._resolved(name)).spec

    async def calibration(self, collection: str) -> Mapping[str, Any] | None:
        """What `set_calibration` kept last, here or elsewhere, at most FRESH_S old."""
        return (await self._resolved(collection)).calibration

    def _limits(self, collection: str) -> Limits:
        """What the server permits for the collection, as far as it is known."""
        known = self._known.get(collection)
        return known.limits if known else Limits()

    def _forget(self) -> None:
        """Whoever asks next asks the server."""
        self._generation += 1
        self._known.clear()

    async def _aliases(self) -> dict[str, str]:
        """The server's aliases: alias -> collection."""
        found = await self._calls.read("", lambda timeout: self._nodes.get_aliases())
        return {entry.alias_name: entry.collection_name for entry in found.aliases}

    async def _resolved(self, name: str) -> Known:
        known = self._known.get(name)
        age = time.monotonic() - known.read_at if known else FRESH_S
        asking = name, self._generation
        if age > FRESH_S / 2 and asking not in self._asking:
            # In a context of its own, as long as the store's calls may take: others wait with it whose
            # deadlines are later.
            task = self._asking[asking] = asyncio.create_task(self._look_up(name), context=Context())
            task.add_done_callback(lambda done: self._asked(*asking, done))
        if known and age < FRESH_S:
            return known
        # Shielded: one caller who goes must not take the answer from those who wait with it.
        async with store_within(self._timeout):
            return await asyncio.shield(self._asking[asking])

    def _asked(self, name: str, generation: int, task: asyncio.Task[Known]) -> None:
        del self._asking[name, generation]
        if not task.cancelled() and isinstance(task.exception(), NotFound):
            self._known.pop(name, None)

    async def _look_up(self, name: str) -> Known:
        """The settings that the nodes agree on, or after a while most of them.

        A node that has just come back answers before it has heard what changed while it was away.
        """
        generation = self._generation
        for last in [False] * _ASKED_AGAIN + [True]:
            asked = [self._look_up_once(name) for _ in range(_ASKED_AT_ONCE)]
            answers = await asyncio.gather(*asked, return_exceptions=True)
            heard = [one for one in answers if not isinstance(one, Unavailable | DeadlineExceeded)]
            if not heard:
                raise next(one for one in answers if isinstance(one, BaseException))
            likeness = [_likeness(one) for one in heard]
            if last or likeness.count(likeness[0]) == len(heard):
                break
            await asyncio.sleep(_AGREE_S)
        known = heard[max(range(len(heard)), key=lambda n: likeness.count(likeness[n]))]
        if isinstance(known, BaseException):
            raise known
        before = self._known.get(name)
        if before is not None and before.calibration == known.calibration:
            known = replace(known, calibration=before.calibration)
        if generation == self._generation:
            self._known[name] = self._known[known.spec.name] = known
        return known

    async def _look_up_once(self, name: str) -> Known:
        return await self._ask((await self._aliases()).get(name, name), name)

    async def _ask(self, collection: str, called: str) -> Known:
        """Reads the settings. Raises NotFound of `called`; FailedPrecondition for somebody else's."""
        return (await self._read(collection, called))[0]

    async def _read(self, collection: str, called: str) -> tuple[Known, models.CollectionInfo]:
        read_at = time.monotonic()
        described = await self._calls.read(called, lambda timeout: self._nodes.get_collection(collection))
        spec = read_spec(collection, described)
        if spec is None:
            raise FailedPrecondition(
                f"collection {called!r} was not made by clipsearch",
                "COLLECTION_NOT_OURS",
                {"collection": called},
            )
        calibration = (described.config.metadata or {}).get(CALIBRATION)
        return Known(spec, read_limits(described), read_at, calibration), described


def _likeness(answer: Known | BaseException) -> object:
    return replace(answer, read_at=0.0) if isinstance(answer, Known) else type(answer)
