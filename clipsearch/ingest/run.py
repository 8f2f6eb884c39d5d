"""One run of bulk loading: batches of unary calls in flight, nothing encoded twice.

Before a batch is sent it is asked which of its points are there as they should be:

- an item without an id of its own is known by the hash of its content;
- an item with a given id is the same if `content_hash` in the stored payload is;
- an item that the checkpoint calls finished only has to be there.

So a run that was killed is resumed by running it again. Pictures are read as they are sent: memory
holds the batches in flight and no more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from clipsearch.aio import AsyncClient
from clipsearch.backoff import Patience
from clipsearch.calling import PatientCalls, reason
from clipsearch.errors import ClipSearchError
from clipsearch.ingest.checkpoint import Checkpoint, CheckpointError
from clipsearch.ingest.flow import Flow, FlowLimits
from clipsearch.ingest.points import CONTENT_HASH, BadItem, to_point
from clipsearch.ingest.progress import Failure, IngestReport, Progress, Tally
from clipsearch.ingest.source import Item, Source, SourceError
from clipsearch.ingest.stream import Stream
from clipsearch.inputs import Point
from clipsearch.results import Collection, UpsertResult

_Read = tuple[Item, Point]

_TOO_MANY = "COUNT_OUT_OF_RANGE"
_NO_ROOM = "RESOURCE_EXHAUSTED"


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How to load: bounds of points a call and calls in flight, and bytes a call, about.

    When nothing at all got through for `patience_s` seconds, the run gives up.
    """

    flow: FlowLimits = field(default_factory=FlowLimits)
    batch_bytes: int = 8 * 1024 * 1024
    patience_s: float = 120.0


class IngestStopped(Exception):
    """The run could not go on: `cause` says why, `report` what had been done by then."""

    def __init__(self, cause: Exception, report: IngestReport) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.report = report


class _Halted(Exception):
    """The run is ending; what waits to be tried again is given up."""


class Ingest:
    """Loads a source into a collection that exists.

    `checkpoint` is a file that tells a later run of the same source into the same collection what
    is done. `fingerprint` is the space of ready vectors; if given, the service compares it with the
    collection's. `on_progress` is called after every batch, `on_failure` with every item that failed:
    bad items stop nothing.
    """

    def __init__(
        self,
        client: AsyncClient,
        collection: str,
        source: Source,
        *,
        checkpoint: Path | str | None = None,
        fingerprint: str = "",
        options: IngestOptions = IngestOptions(),
        on_progress: Callable[[Progress], None] = lambda progress: None,
        on_failure: Callable[[Failure], None] = lambda failure: None,
    ) -> None:
        self._client = client
        self._collection = collection
        self._source = source
        self._checkpoint_file = None if checkpoint is None else Path(checkpoint)
        self._checkpoint: Checkpoint | None = None
        self._fingerprint = fingerprint
        self._options = options
        self._on_progress = on_progress
        self._flow = Flow(options.flow)
        self._patience = Patience(options.patience_s)
        self._calls = PatientCalls(self._patience, self._wait)
        self._tally = Tally(on_failure)
        self._in_flight: set[str] = set()
        self._under_way: set[asyncio.Task[None]] = set()
        self._halt = asyncio.Event()
        self._landed = asyncio.Event()
        self._broken: Exception | None = None

    def stop(self) -> None:
        """Ends the run early: batches in flight are finished, the rest is left."""
        self._halt.set()
        self._landed.set()

    async def run(self) -> IngestReport:
        """Works until the last item.

        Raises SourceError, CheckpointError, ClipSearchError or OSError before anything is written;
        IngestStopped when the service refuses the run as a whole or stays away for longer than the
        patience allows, or when the source or the checkpoint's disk fails under way.
        """
        self._tally.total = await asyncio.to_thread(self._source.prepare)
        self._checkpoint = await self._opened(await self._described())
        self._patience.renew()
        stream = Stream(self._source.items(), self._options.batch_bytes)
        async with asyncio.TaskGroup() as flights:
            while await self._room() and (batch := await self._take(stream)):
                flight = flights.create_task(self._fly(batch))
                self._under_way.add(flight)
                flight.add_done_callback(self._land)
        report = self._tally.report(self._halt.is_set())
        if self._broken is not None:
            raise IngestStopped(self._broken, report)
        return report

    async def _described(self) -> Collection:
        """The collection, if the source's vectors can go there. Raises SourceError."""
        collection = await self._calls.make(partial(self._client.get_collection, self._collection))
        dimension = self._source.dimension
        if dimension is not None and dimension != collection.dimension:
            raise SourceError(
                f"the vectors have {dimension} numbers, those of collection {collection.name!r} have "
                f"{collection.dimension}"
            )
        return collection

    async def _opened(self, collection: Collection) -> Checkpoint | None:
        if self._checkpoint_file is None:
            return None
        identity = await asyncio.to_thread(self._source.identity)
        if identity is None:
            raise CheckpointError(
                "a folder of pictures takes no checkpoint: what is indexed is known by its content"
            )
        checkpoint = await asyncio.to_thread(Checkpoint.open, self._checkpoint_file, identity, collection)
        await checkpoint.save()  # so that a place where nothing can be written is found out now
        return checkpoint

    async def _room(self) -> bool:
        """Waits until one more batch may fly; False when the run is ending."""
        while not self._halt.is_set() and len(self._under_way) >= self._flow.flights:
            self._landed.clear()
            await self._landed.wait()
        return not self._halt.is_set()

    async def _take(self, stream: Stream) -> list[Item]:
        try:
            return await asyncio.to_thread(stream.take, self._flow.points)
        except (SourceError, OSError) as error:  # the source has changed under our hands
            self._break(error)
            return []

    async def _fly(self, batch: list[Item]) -> None:
        try:
            await self._index(batch)
            if self._checkpoint is not None:
                self._checkpoint.finish(batch[0].position, batch[-1].position + 1)
                await self._checkpoint.save()
        except _Halted:
            return
        except (ClipSearchError, OSError) as error:
            self._break(error)
        self._on_progress(self._tally.progress())

    def _land(self, flight: asyncio.Task[None]) -> None:
        self._under_way.discard(flight)
        self._landed.set()

    def _break(self, error: Exception) -> None:
        self._broken = self._broken or error
        self.stop()

    async def _index(self, batch: list[Item]) -> None:
        """Asks what is there, reads and writes the rest."""
        stored = await self._stored([item.id for item in batch if item.id and self._may_be_there(item)])
        left = [item for item in batch if not (item.id in stored and self._finished(item))]
        read, failures = await asyncio.to_thread(_read, left)
        for failure in failures:
            self._tally.failure(failure)
        fresh: dict[str, _Read] = {}
        for item, point in read:
            if point.id not in self._in_flight:
                fresh.setdefault(point.id, (item, point))
        self._in_flight |= fresh.keys()
        try:
            by_content = await self._stored([id for id, (item, _) in fresh.items() if item.id is None])
            missing = [
                (item, point)
                for id, (item, point) in fresh.items()
                if id not in by_content and not _is_same(point, stored)
            ]
            self._tally.already += len(batch) - len(failures) - len(missing)
            await self._write(missing)
            self._patience.renew()
        finally:
            self._in_flight -= fresh.keys()

    def _may_be_there(self, item: Item) -> bool:
        """False for ready vectors that no checkpoint knows: they are sent unasked, nothing is encoded."""
        return item.is_encoded or self._finished(item)

    def _finished(self, item: Item) -> bool:
        return self._checkpoint is not None and item.position in self._checkpoint

    async def _stored(self, ids: list[str]) -> dict[str, str | None]:
        """Those of the ids that are there, with the hash of their content where there is one."""
        if not ids:
            return {}
        ask = partial(self._client.get_points, self._collection, ids, payload=[CONTENT_HASH])
        return {point.id: point.payload.get(CONTENT_HASH) for point in await self._calls.make(ask)}

    async def _write(self, read: list[_Read]) -> None:
        await self._calls.write(read, self._upsert, written=self._written, failed=self._fail)

    async def _upsert(self, read: Sequence[_Read]) -> list[UpsertResult]:
        """One call; the flow hears how it went."""
        points = [point for _, point in read]
        started = time.monotonic()
        try:
            results = await self._client.upsert(self._collection, points, fingerprint=self._fingerprint)
        except ClipSearchError as error:
            if error.reason == _TOO_MANY:
                self._flow.too_many(len(points))
            raise
        if all(result.error is None or result.error.code != _NO_ROOM for result in results):
            self._flow.answered(len(points), time.monotonic() - started)
        return results

    def _written(self, one: _Read, result: UpsertResult) -> None:
        self._tally.indexed += 1

    def _fail(self, one: _Read, error: ClipSearchError) -> None:
        item, point = one
        self._tally.failure(Failure(item.place, reason(error), point.id))

    async def _wait(self, error: ClipSearchError, seconds: float) -> None:
        if error.code == _NO_ROOM:
            self._flow.refused()
        try:
            await asyncio.wait_for(self._halt.wait(), seconds)
        except TimeoutError:
            return
        raise _Halted


def _read(items: list[Item]) -> tuple[list[_Read], list[Failure]]:
    read, failures = list[_Read](), list[Failure]()
    for item in items:
        try:
            read.append((item, to_point(item)))
        except BadItem as error:
            failures.append(Failure(item.place, str(error), item.id))
        except OSError as error:
            failures.append(Failure(item.place, _why(item, error), item.id))
    return read, failures


def _why(item: Item, error: OSError) -> str:
    """What the disk says, and of which file where the place does not say it."""
    reason = error.strerror or str(error)
    return reason if item.place == str(item.path) else f"{item.path}: {reason}"


def _is_same(point: Point, stored: dict[str, str | None]) -> bool:
    digest = point.payload.get(CONTENT_HASH)
    return digest is not None and stored.get(point.id) == digest
