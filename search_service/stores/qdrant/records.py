"""Records: points as Qdrant reads them, by id and page by page, of one copy of a shard or of several."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, TypeAlias

import grpc
from qdrant_client import AsyncQdrantClient, models

from search_service.stores.codec import payload_keys
from search_service.stores.protocol import PayloadSelection
from search_service.stores.qdrant.calls import PointCalls
from search_service.stores.qdrant.spec import Limits

Consistency: TypeAlias = Literal["one", "majority", "quorum", "all"]

ANY_COPY = 1
# Qdrant needs far less than their sum to tell a node that has come back how it stands.
_AGREE_AFTER_S = (0.05, 0.15, 0.3, 0.5)
_TOO_FEW_COPIES = "does not have enough active replicas"


class Records:
    """Reads points. `consistency`: of how many copies; what a call says is what Qdrant calls so."""

    def __init__(
        self,
        client: AsyncQdrantClient,
        calls: PointCalls,
        limits: Callable[[str], Limits],
        consistency: Consistency,
    ) -> None:
        self._client, self._calls, self._limits = client, calls, limits
        self.consistency: models.ReadConsistency = (
            ANY_COPY if consistency == "one" else models.ReadConsistencyType(consistency)
        )

    async def retrieve(
        self,
        collection: str,
        uuids: Sequence[str],
        payload: PayloadSelection,
        with_vectors: bool,
        timeout: float | None,
    ) -> list[models.Record]:
        """The points with these UUIDs, in their order.

        Copies that do not agree on one answer with nothing: while it is overwritten, where a node that was
        away reads its own copy and has not heard yet that it is behind, or since a write of it failed
        half-way. They are asked again for a second; what they do not agree on then is read from one copy.
        """
        end = math.inf if timeout is None else time.monotonic() + timeout

        async def read(keys: Sequence[str], consistency: models.ReadConsistency) -> dict[str, models.Record]:
            records = await self._calls.read(
                collection,
                None if timeout is None else max(0.0, end - time.monotonic()),
                partial(self._retrieve, collection, keys, payload, with_vectors, consistency),
            )
            return {str(record.id): record for record in records}

        found = await read(uuids, self.consistency)
        if self.consistency != ANY_COPY:
            missing = [key for key in uuids if key not in found]
            doubtful = await read(missing, ANY_COPY) if missing else {}
            for pause in _AGREE_AFTER_S:
                if not doubtful or time.monotonic() + 2 * pause > end:
                    break
                await asyncio.sleep(pause)
                agreed = await read(list(doubtful), self.consistency)
                found |= agreed
                doubtful = {key: record for key, record in doubtful.items() if key not in agreed}
            found |= doubtful
        return [found[key] for key in uuids if key in found]

    async def agreed(
        self, collection: str, uuids: Sequence[str], timeout: float | None
    ) -> list[models.Record]:
        """Those that most copies have, and alike; without payloads and vectors.

        A write that failed half-way leaves its point on one copy: taken for there, it would stay on that one.
        """

        async def read(seconds: int) -> list[models.Record]:
            ask = partial(self._retrieve, collection, uuids, PayloadSelection(()), False)
            try:
                return await ask(models.ReadConsistencyType.QUORUM, seconds)
            except grpc.aio.AioRpcError as error:
                if _TOO_FEW_COPIES not in (error.details() or ""):
                    raise
                # Those that are away are made anew of those that are there.
                return await ask(ANY_COPY, seconds)

        return await self._calls.read(collection, timeout, read)

    async def scroll(
        self,
        collection: str,
        timeout: float | None,
        consistency: models.ReadConsistency,
        limit: int,
        **asked: Any,
    ) -> tuple[list[models.Record], Any]:
        """A page, and where the next one starts; as many points at most as strict mode lets pass."""
        limit = min(limit, self._limits(collection).results or limit)
        return await self._calls.read(
            collection,
            timeout,
            lambda seconds: self._client.scroll(
                collection, limit=limit, consistency=consistency, timeout=seconds, **asked
            ),
        )

    async def _retrieve(
        self,
        collection: str,
        uuids: Sequence[str],
        payload: PayloadSelection,
        with_vectors: bool,
        consistency: models.ReadConsistency,
        seconds: int,
    ) -> list[models.Record]:
        return await self._client.retrieve(
            collection,
            list(uuids),
            with_payload=payload_keys(payload),
            with_vectors=with_vectors,
            consistency=consistency,
            timeout=seconds,
        )
