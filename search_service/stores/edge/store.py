"""QdrantEdge: Qdrant's own engine without a server; a folder and a process a collection.

The engine stops its whole process for as long as a call takes (it keeps Python's global lock), so it
never runs in the one that serves: each collection has a process of its own, asked over a socket, which
costs a search 0.2 ms and a collection 36 MB, and takes the packing of points off the service.
See files.py (the directory), collection.py (a collection in service), indexing.py (its index).
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import structlog

from clipsearch.serving.errors import (
    AlreadyExists,
    CollectionDamaged,
    NotFound,
    ServiceError,
)
from search_service.deadline import time_left
from search_service.stores.checks import (
    check_changes,
    check_name,
    check_no_cluster,
    check_points,
    index_conflict,
)
from search_service.stores.collection import (
    CollectionInfo,
    CollectionSpec,
    PayloadIndex,
)
from search_service.stores.edge import files
from search_service.stores.edge.aliases import Aliases
from search_service.stores.edge.codec import pack_point
from search_service.stores.edge.collection import EdgeCollection
from search_service.stores.edge.damage import Damaged, sound, told
from search_service.stores.edge.indexing import Maintenance, MaintenancePolicy
from search_service.stores.edge.process import Children, EngineProcess, whole
from search_service.stores.edge.reads import EdgeReads
from search_service.stores.filters import Filter
from search_service.stores.protocol import (
    PayloadChange,
    StoredPoint,
    VectorName,
)

_log = structlog.get_logger(__name__)


class QdrantEdge(EdgeReads):
    """VectorStore on a local directory. Make one with `open`."""

    shared = False

    def __init__(self, root: Path, lock: IO[str], policy: MaintenancePolicy, timeout: float) -> None:
        self._root = root
        self._lock = lock
        self._policy = policy
        self._timeout = timeout
        self._children = Children(lock.fileno())
        self._maintenance = Maintenance(self._children, policy)
        self._live: dict[str, EdgeCollection] = {}
        self._aliases = Aliases(root)
        # Health must not wait behind the copies of an index that is being built.
        self._pinging = ThreadPoolExecutor(1, "ping")
        self._changing = asyncio.Lock()  # one creation, deletion or alias change at a time

    @classmethod
    async def open(
        cls, root: Path, policy: MaintenancePolicy = MaintenancePolicy(), timeout: float = 30.0
    ) -> QdrantEdge:
        """Opens or makes the store; engines start when their collection is first asked.

        No call waits for longer than `timeout` seconds.
        Raises StartError if another process has it open; OSError if the directory cannot be used.
        """
        lock = await asyncio.to_thread(files.open_root, root)
        try:
            store = cls(root, lock, policy, timeout)
            await asyncio.to_thread(store._look)
        except BaseException:
            lock.close()
            raise
        return store

    def _look(self) -> None:
        """Finds the collections. Whatever is damaged is told, and keeps nothing from working."""
        for folder in files.collection_folders(self._root):
            try:
                spec, shard = sound(folder)
                for left in folder.glob("shard.*"):  # by a crash
                    if left.name != shard:
                        files.remove(left)
                self._live[folder.name] = self._collection(folder, spec, shard)
            except (Damaged, OSError) as found:
                damage = told(folder, found)
                unknown = CollectionSpec(folder.name, dimension=0, fingerprint="")
                self._live[folder.name] = self._collection(folder, unknown, "", damage=damage)
                _log.error("a collection is damaged", collection=folder.name, damage=damage)
        self._aliases.read()

    def _collection(self, folder: Path, spec: CollectionSpec, shard: str, **more: Any) -> EdgeCollection:
        maintain, min_free = self._maintenance.run, self._policy.min_free_bytes
        return EdgeCollection(folder, spec, shard, self._children, maintain, min_free, self._timeout, **more)

    async def ping(self) -> None:
        """Returns if the directory is there, and any engine that runs answers.

        A collection whose engine is stuck refuses its own calls; the store is of use until all are. Engines
        that do not run are started when needed.
        """
        with files.disk_errors():
            await asyncio.get_running_loop().run_in_executor(self._pinging, self._root.stat)
        pings = [live.ping() for live in self._live.values() if live.running]
        outcomes = await asyncio.gather(*pings, return_exceptions=True)
        failures = [outcome for outcome in outcomes if outcome is not None]
        if failures and len(failures) == len(pings):
            raise failures[0]

    async def close(self) -> None:
        """Flushes every collection and lets go of the directory.

        However it ends, no child process is left and the directory's lock is free. Cancelled, it
        leaves the flushes out: what is acknowledged is in the write-ahead logs.
        """
        try:
            async with self._changing:
                closing = [live.close() for live in self._live.values()]
                failures = [e for e in await asyncio.gather(*closing, return_exceptions=True) if e]
        finally:
            await whole(self._end())
        if failures:
            raise failures[0]

    async def _end(self) -> None:
        await self._children.end()
        await asyncio.gather(*(live.kill() for live in self._live.values()))
        self._live.clear()
        self._pinging.shutdown(wait=False)
        self._lock.close()

    async def resolve(self, name: str) -> CollectionSpec:
        target = self._aliases.target(name)
        if target in self._live:
            return self._get(target).spec
        self._aliases.check(name)
        raise NotFound("collection", name)

    async def create_collection(self, spec: CollectionSpec) -> None:
        """Creates a collection; after a crash there is all of it or nothing. Raises AlreadyExists."""
        check_name("name", spec.name)
        check_no_cluster(spec)
        async with self._changing:
            if spec.name in self._live:
                raise AlreadyExists("collection", spec.name)
            if spec.name in self._aliases:
                raise AlreadyExists("collection", spec.name, taken_by="an alias")
            folder = self._root / files.COLLECTIONS / spec.name
            building = folder.with_name(f".{spec.name}.new")
            threshold = self._policy.index_threshold
            engine = await EngineProcess.start(self._children)
            try:
                with files.disk_errors():
                    await asyncio.to_thread(shutil.rmtree, building, True)
                    await engine.call("create", building / files.FIRST_SHARD, spec, threshold)
                    await whole(self._publish(building, folder, spec, engine))
            except BaseException:
                if spec.name not in self._live:
                    await engine.kill()
                    await whole(asyncio.to_thread(shutil.rmtree, building, True))
                raise

    async def _publish(
        self, building: Path, folder: Path, spec: CollectionSpec, engine: EngineProcess
    ) -> None:
        await asyncio.to_thread(files.publish, building, folder, spec)
        self._live[spec.name] = self._collection(folder, spec, files.FIRST_SHARD, spare=engine)

    async def update_collection(self, collection: str, changes: Mapping[str, Any]) -> None:
        """Keeps the settings; the next index, which is begun soon, is built by them."""
        live = self._get(collection)
        check_changes(live.spec, changes)
        await live.update(changes)

    async def get_collection(self, collection: str) -> CollectionInfo:
        live = self._get(collection)
        info, disk_bytes = await live.info()
        vectors = info.image_vectors + info.text_vectors
        return CollectionInfo(
            spec=live.spec,
            points=info.points,
            image_vectors=info.image_vectors,
            text_vectors=info.text_vectors,
            indexed_share=min(1.0, info.indexed_vectors / vectors) if vectors else 0.0,
            disk_bytes=disk_bytes,
            aliases=self._aliases.of(collection),
        )

    async def list_collections(self) -> list[CollectionInfo]:
        found = []
        for name in sorted(self._live):
            try:
                found.append(await self.get_collection(name))
            except NotFound:  # deleted meanwhile
                continue
            except ServiceError as error:
                time_left()  # a caller whose time is over is told so, and of no damage
                damage = error.damage if isinstance(error, CollectionDamaged) else error.message
                unknown = CollectionSpec(name, dimension=0, fingerprint="")
                found.append(CollectionInfo(unknown, aliases=self._aliases.of(name), damage=damage))
        return found

    async def delete_collection(self, collection: str) -> None:
        async with self._changing:
            if collection not in self._live:
                raise NotFound("collection", collection)
            for other in self._live.values():
                if other.spec.successor == collection:
                    await other.set_successor("")
            await self._aliases.drop(collection)
            await whole(self._delete(collection))

    async def _delete(self, name: str) -> None:
        live = self._live.pop(name)
        await live.discard()
        folder = live.folder
        doomed = folder.with_name(f".{name}.deleted")
        with files.disk_errors():
            await asyncio.to_thread(files.remove, doomed)  # of a deletion that could not clear up
            try:
                if folder.exists() or folder.is_symlink():
                    await asyncio.to_thread(folder.rename, doomed)
            except OSError:
                self._live[name] = self._collection(folder, live.spec, live.shard, damage=live.damage)
                raise
            await asyncio.to_thread(files.remove, doomed)

    async def set_alias(self, alias: str, collection: str | None) -> str:
        """Points `alias` at a collection, or removes it; returns where it pointed. Raises NotFound."""
        check_name("alias", alias)
        async with self._changing:
            if alias in self._live:
                raise AlreadyExists("alias", alias, taken_by="a collection")
            if collection is not None:
                self._get(collection)
            elif alias not in self._aliases:
                raise NotFound("alias", alias)
            return await self._aliases.point(alias, collection)

    async def set_successor(self, collection: str, successor: str) -> float:
        """Keeps the successor in the collection's settings; nobody else goes by older ones."""
        async with self._changing:
            if successor:
                self._get(successor)
            await self._get(collection).set_successor(successor)
        return 0.0

    async def create_payload_index(self, collection: str, key: str, index: PayloadIndex) -> None:
        live = self._get(collection)
        there = await live.create_payload_index(key, index)
        if there != index:
            raise index_conflict(collection, key, there, index)

    async def delete_payload_index(self, collection: str, key: str) -> None:
        await self._get(collection).delete_payload_index(key)

    async def upsert(
        self,
        collection: str,
        points: Sequence[StoredPoint],
        *,
        wait: bool = True,
        insert_only: bool = False,
        update_filter: Filter | None = None,
    ) -> frozenset[str]:
        """Writes points, each whole; findable on return, and with `wait` durable."""
        live = self._get(collection)
        check_points(live.spec, points)
        packed = [pack_point(point) for point in points]
        return await live.upsert(packed, insert_only, update_filter, durable=wait)

    async def delete(self, collection: str, selector: Sequence[str] | Filter) -> int:
        what = selector if isinstance(selector, Filter) else tuple(selector)
        return int(await self._get(collection).write("delete", what))

    async def update_payload(self, collection: str, ids: Sequence[str], change: PayloadChange) -> int:
        live = self._get(collection)
        return int(await live.write("update_payload", tuple(ids), change))

    async def update_vectors(
        self, collection: str, points: Sequence[StoredPoint], *, wait: bool
    ) -> frozenset[str]:
        live = self._get(collection)
        check_points(live.spec, points)
        packed = [pack_point(point) for point in points]
        return frozenset(await live.write("update_vectors", packed, points=len(packed)))

    async def delete_vectors(self, collection: str, ids: Sequence[str], names: Sequence[VectorName]) -> int:
        live = self._get(collection)
        return int(await live.write("delete_vectors", tuple(ids), tuple(names)))

    async def calibration(self, collection: str) -> Mapping[str, Any] | None:
        """The calibration that is kept in the collection's folder."""
        return self._get(collection).calibration

    async def set_calibration(self, collection: str, calibration: Mapping[str, Any]) -> None:
        """Keeps it there; what a crash loses is measured anew."""
        live = self._get(collection)
        with files.disk_errors():
            await asyncio.to_thread(files.write_json, live.folder / files.CALIBRATION, calibration)
        live.calibration = calibration
