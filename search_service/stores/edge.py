"""QdrantEdge: Qdrant's own engine inside this process, a folder a collection.

    <root>/lock                      held while a process has the store open
    <root>/aliases.json              alias -> collection
    <root>/collections/<name>/       see edge_collection.py

Each collection has one worker thread; the engine runs no faster with two, and one never has to
think of order. A write is in the engine's write-ahead log when it is acknowledged, so it survives
the death of the process at any moment; against a loss of power it is as safe as the operating
system's page cache, which the engine flushes in the background.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from clipsearch.serving.errors import (
    AlreadyExists,
    DeadlineExceeded,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from search_service.filters import Filter
from search_service.stores.edge_collection import SPEC, EdgeCollection, write_json
from search_service.stores.protocol import (
    CollectionInfo,
    CollectionSpec,
    IndexType,
    Page,
    PayloadSelection,
    ScoredPoint,
    StoredPoint,
    VectorQuery,
)

T = TypeVar("T")
ALIASES = "aliases.json"


class StoreInUseError(Exception):
    """Another process has the data directory open; the message names it."""


@dataclass(frozen=True, slots=True)
class _Open:
    """An open collection and the one thread that may touch it."""

    collection: EdgeCollection
    worker: ThreadPoolExecutor


class QdrantEdge:
    """VectorStore on a local directory. Make one with `open`."""

    def __init__(self, root: Path, lock: IO[str]) -> None:
        self._root = root
        self._lock = lock
        self._open: dict[str, _Open] = {}
        self._aliases: dict[str, str] = {}
        self._changes = asyncio.Lock()  # one creation, deletion or alias change at a time

    @classmethod
    async def open(cls, root: Path) -> QdrantEdge:
        """Opens or makes the store. Raises StoreInUseError; OSError if the directory cannot be used."""
        store = await asyncio.to_thread(cls._open_root, root)
        for folder in sorted(store._collections.iterdir()):
            if (folder / SPEC).is_file() and not folder.name.startswith("."):
                await store._open_collection(folder.name)
        return store

    @classmethod
    def _open_root(cls, root: Path) -> QdrantEdge:
        (root / "collections").mkdir(parents=True, exist_ok=True)
        lock = (root / "lock").open("w", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise StoreInUseError(f"the data directory {root} is open in another process") from None
        store = cls(root, lock)
        for leftover in (root / "collections").glob(".*"):  # of a creation or deletion cut short
            shutil.rmtree(leftover)
        if (root / ALIASES).is_file():
            store._aliases = json.loads((root / ALIASES).read_text(encoding="utf-8"))
        return store

    @property
    def _collections(self) -> Path:
        return self._root / "collections"

    async def ping(self) -> None:
        """Returns: the engine is in this process."""

    async def close(self) -> None:
        """Flushes every collection and lets go of the directory."""
        async with self._changes:
            for name in list(self._open):
                await self._close_collection(name)
            self._lock.close()

    async def resolve(self, name: str, *, timeout: float | None = None) -> CollectionSpec:
        """The settings of a collection, by name or alias."""
        return self._get(self._aliases.get(name, name)).collection.spec

    async def create_collection(self, spec: CollectionSpec, *, timeout: float | None = None) -> None:
        """Creates a collection. Raises AlreadyExists."""
        async with self._changes:
            if spec.name in self._open:
                raise AlreadyExists("collection", spec.name)
            if spec.name in self._aliases:
                raise AlreadyExists("collection", spec.name, taken_by="an alias")
            with _disk_errors():
                await asyncio.to_thread(EdgeCollection.create, self._collections / spec.name, spec)
            await self._open_collection(spec.name)

    async def get_collection(self, collection: str, *, timeout: float | None = None) -> CollectionInfo:
        """The collection as it stands."""
        aliases = tuple(sorted(alias for alias, name in self._aliases.items() if name == collection))
        return await self._run(collection, lambda c: c.info(aliases), timeout)

    async def list_collections(self, *, timeout: float | None = None) -> list[CollectionInfo]:
        """All collections, by name."""
        return [await self.get_collection(name, timeout=timeout) for name in sorted(self._open)]

    async def delete_collection(self, collection: str, *, timeout: float | None = None) -> None:
        """Deletes the collection and the aliases that point at it."""
        async with self._changes:
            self._get(collection)
            kept = {alias: name for alias, name in self._aliases.items() if name != collection}
            if kept != self._aliases:
                await self._save_aliases(kept)
            await self._close_collection(collection)
            doomed = self._collections / f".{collection}.deleted"
            (self._collections / collection).rename(doomed)
            await asyncio.to_thread(shutil.rmtree, doomed)

    async def set_alias(self, alias: str, collection: str | None, *, timeout: float | None = None) -> str:
        """Points `alias` at a collection, or removes it; returns where it pointed."""
        async with self._changes:
            if alias in self._open:
                raise AlreadyExists("alias", alias, taken_by="a collection")
            previous = self._aliases.get(alias, "")
            changed = {name: target for name, target in self._aliases.items() if name != alias}
            if collection is not None:
                self._get(collection)
                changed[alias] = collection
            elif not previous:
                raise NotFound("alias", alias)
            await self._save_aliases(changed)
            return previous

    async def create_payload_index(
        self, collection: str, key: str, type: IndexType, *, timeout: float | None = None
    ) -> None:
        """Adds a payload index."""
        await self._run(collection, lambda c: c.create_payload_index(key, type), timeout)

    async def upsert(
        self,
        collection: str,
        points: Sequence[StoredPoint],
        *,
        wait: bool = True,
        timeout: float | None = None,
    ) -> None:
        """Writes points whole, all or none; always durable and findable on return."""
        await self._run(collection, lambda c: c.upsert(points), timeout)

    async def get(
        self,
        collection: str,
        ids: Sequence[str],
        *,
        payload: PayloadSelection = PayloadSelection(),
        with_vectors: bool = False,
        timeout: float | None = None,
    ) -> list[StoredPoint]:
        """Those of `ids` that exist, in their order."""
        return await self._run(collection, lambda c: c.get(ids, payload, with_vectors), timeout)

    async def delete(
        self, collection: str, selector: Sequence[str] | Filter, *, timeout: float | None = None
    ) -> int:
        """Deletes by ids or by filter; returns how many points existed."""
        return await self._run(collection, lambda c: c.delete(selector), timeout)

    async def count(
        self, collection: str, filter: Filter | None = None, *, timeout: float | None = None
    ) -> int:
        """How many points match."""
        return await self._run(collection, lambda c: c.count(filter), timeout)

    async def scroll(
        self,
        collection: str,
        *,
        limit: int,
        cursor: str | None = None,
        filter: Filter | None = None,
        payload: PayloadSelection = PayloadSelection(),
        with_vectors: bool = False,
        timeout: float | None = None,
    ) -> Page:
        """A page of points in the order of their UUIDs."""
        return await self._run(
            collection, lambda c: c.scroll(limit, cursor, filter, payload, with_vectors), timeout
        )

    async def query(
        self, collection: str, queries: Sequence[VectorQuery], *, timeout: float | None = None
    ) -> list[list[ScoredPoint]]:
        """Answers several questions; each list best first."""
        return await self._run(collection, lambda c: c.query(queries), timeout)

    def _get(self, collection: str) -> _Open:
        try:
            return self._open[collection]
        except KeyError:
            raise NotFound("collection", collection) from None

    async def _run(self, collection: str, job: Callable[[EdgeCollection], T], timeout: float | None) -> T:
        """Runs a job in the collection's thread.

        A job that waits when the time is up never starts; one that runs is finished in its thread,
        because the engine cannot be interrupted.
        """
        opened = self._get(collection)
        try:
            future = opened.worker.submit(job, opened.collection)
        except RuntimeError:  # the thread is gone: the collection was deleted or the store closed
            raise NotFound("collection", collection) from None
        with _disk_errors():
            try:
                return await asyncio.wait_for(asyncio.wrap_future(future), timeout)
            except TimeoutError:
                raise DeadlineExceeded(f"the store did not answer within {timeout:g} s") from None

    async def _open_collection(self, name: str) -> None:
        worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"edge-{name}")
        future = worker.submit(EdgeCollection.open, self._collections / name)
        self._open[name] = _Open(await asyncio.wrap_future(future), worker)

    async def _close_collection(self, name: str) -> None:
        opened = self._open.pop(name)
        await asyncio.wrap_future(opened.worker.submit(opened.collection.close))
        opened.worker.shutdown(wait=False)

    async def _save_aliases(self, aliases: dict[str, str]) -> None:
        with _disk_errors():
            await asyncio.to_thread(write_json, self._root / ALIASES, aliases)
        self._aliases = aliases


class _disk_errors:  # noqa: N801 - reads as a statement
    """Tells a full or failing disk from a fault of ours; the engine reports both as plain exceptions."""

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        text = str(error)
        if error is None or not isinstance(error, Exception):
            return
        if (isinstance(error, OSError) and error.errno == errno.ENOSPC) or "No space left" in text:
            raise ResourceExhausted(
                "the store's disk is full; nothing was written", "STORE_DISK_FULL", retry_after_s=30
            ) from error
        if isinstance(error, OSError) or "Read-only file system" in text or "os error" in text:
            raise Unavailable("store", "the store's disk cannot be read or written") from error
