"""One run of bulk loading: batches of unary calls in flight, nothing encoded twice.

A run that was killed is resumed by running it again: what is there as it should be is left alone
(see `batch`). Images are read as they are sent: memory holds the batches in flight, and 8 to 24
bytes an item by which points that the source no longer has are told in the end (see `leftovers`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from clipsearch.batches import batched
from clipsearch.channel.credentials import ClientTls
from clipsearch.client.aio import AsyncClient
from clipsearch.client.errors import ArgumentTypeError, ClipSearchError
from clipsearch.client.retrying import Retrying
from clipsearch.client.types import Collection
from clipsearch.ingest.batch import Batches
from clipsearch.ingest.checkpoint import Checkpoint, CheckpointError
from clipsearch.ingest.congestion import CongestionControl, FlowLimits
from clipsearch.ingest.leftovers import Fate, ListLeftovers, leftovers_of
from clipsearch.ingest.points import Changes
from clipsearch.ingest.progress import Failure, IngestReport, Progress, Tally
from clipsearch.ingest.source import Item, Source, SourceError

CALL_TIMEOUT_S = 120.0

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
        if not hasattr(source, "prepare"):
            raise ArgumentTypeError(
                f"source: must be an ItemList, a PictureFolder or a VectorFile, is {source!r} "
                f"(of type {type(source).__name__})"
            )
        self._client = client
        self._collection = collection
        self._source = source
        self._checkpoint_file = None if checkpoint is None else Path(checkpoint)
        self._checkpoint: Checkpoint | None = None
        self._fingerprint = fingerprint
        self._options = options
        self._on_progress = on_progress
        self._congestion = CongestionControl(options.flow)
        self._calls = Retrying(options.patience_s, self._wait)
        self._tally = Tally(on_failure)
        self._leftovers = leftovers_of(source)
        self._batches: Batches | None = None
        self._under_way: set[asyncio.Task[None]] = set()
        self._halt = asyncio.Event()
        self._broken: Exception | None = None

    def stop(self) -> None:
        """Ends the run early: batches in flight are finished, the rest is left."""
        self._halt.set()

    async def run(self) -> IngestReport:
        """Works until the last item, then removes points that other content has replaced.

        Raises SourceError, CheckpointError, ClipSearchError or OSError before anything is written;
        IngestStopped when the service refuses the run as a whole or stays away for longer than the
        retry budget allows, or when the source or the checkpoint's disk fails under way.
        """
        self._tally.counts["total"] = await asyncio.to_thread(self._source.prepare)
        collection = await self._described()
        self._checkpoint = await self._opened(collection)
        self._batches = batches = Batches(
            self._client,
            self._calls,
            collection,
            fingerprint=self._fingerprint,
            congestion=self._congestion,
            tally=self._tally,
            leftovers=self._leftovers,
        )
        self._calls.renew()
        cut = batched(
            self._source.items(),
            lambda: self._congestion.points,
            self._options.batch_bytes,
            lambda item: item.size,
        )
        async with asyncio.TaskGroup() as calls:
            while await self._room() and (batch := await self._next(cut)):
                call = calls.create_task(self._load(batches, batch))
                self._under_way.add(call)
                call.add_done_callback(self._under_way.discard)
        if collection.points and not self._halt.is_set():  # a collection that was empty has no leftovers
            try:
                await self._settle(batches)
            except _Halted:
                pass
            except (ClipSearchError, OSError) as error:
                self._break(error)
        report = self._tally.report(self._halt.is_set())
        if self._broken is not None:
            raise IngestStopped(self._broken, report)
        return report

    async def prune(self) -> int:
        """Removes the points that the finished run has counted as `gone`; returns how many went.

        Raises ClipSearchError.
        """
        if self._batches is None or self._halt.is_set():
            return 0
        removed = 0
        async for fates in self._fates():
            removed += await self._batches.delete([id for id, fate in fates if fate is Fate.GONE])
            await self._batches.change([(id, fate) for id, fate in fates if not isinstance(fate, Fate)])
        return removed

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
                "a folder of images takes no checkpoint: what is indexed is known by its content"
            )
        checkpoint = await asyncio.to_thread(Checkpoint.open, self._checkpoint_file, identity, collection)
        await checkpoint.save()  # so that a place where nothing can be written is found out now
        return checkpoint

    async def _room(self) -> bool:
        """Waits until one more batch may be sent; False when the run is ending."""
        while not self._halt.is_set() and len(self._under_way) >= self._congestion.calls:
            await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
        return not self._halt.is_set()

    async def _next(self, batches: Iterator[list[Item]]) -> list[Item] | None:
        try:
            return await asyncio.to_thread(next, batches, None)
        except (SourceError, OSError) as error:  # the source has changed under our hands
            self._break(error)
            return None

    async def _load(self, batches: Batches, batch: list[Item]) -> None:
        try:
            await batches.index(batch, self._checkpoint or ())
            self._calls.renew()
            if self._checkpoint is not None:
                self._checkpoint.finish(batch[0].position, batch[-1].position + 1)
                await self._checkpoint.save()
        except _Halted:
            return
        except (ClipSearchError, OSError) as error:
            self._break(error)
        self._on_progress(self._tally.progress())

    def _break(self, error: Exception) -> None:
        self._broken = self._broken or error
        self.stop()

    async def _settle(self, batches: Batches) -> None:
        """Removes what was replaced, follows what was moved, and counts what is gone.

        Of a list that is missing or empty, or has rows that cannot be read, no point is told that it is in it
        no more: another list has the point too, and would be free to remove it.
        """
        leftovers = self._leftovers
        sure = not isinstance(leftovers, ListLeftovers) or (
            self._tally.counts["total"] and not leftovers.unknown
        )
        async for fates in self._fates():
            replaced = [id for id, fate in fates if fate is Fate.REPLACED]
            self._tally.counts["replaced"] += await batches.delete(replaced)
            changes = [(id, fate) for id, fate in fates if not isinstance(fate, Fate)]
            if sure:
                await batches.change(changes)
            else:
                self._tally.counts["shared"] += len(changes)
            self._tally.counts["gone"] += sum(fate is Fate.GONE for _, fate in fates)
        self._tally.counts["uncertain"] = self._leftovers.unknown if self._leftovers else 0

    async def _fates(self) -> AsyncIterator[list[tuple[str, Fate | Changes]]]:
        """What is to become of the source's points, a page at a time."""
        leftovers = self._leftovers
        if leftovers is None:
            return
        ask = partial(
            self._client.list_page,
            self._collection,
            filter=leftovers.filter,
            payload=list(leftovers.fields),
        )
        async for page in self._calls.pages(ask):
            fates = await asyncio.to_thread(list, map(leftovers.fate, page.points))
            yield [(point.id, fate) for point, fate in zip(page.points, fates, strict=True)]
            if self._halt.is_set():
                return

    async def _wait(self, error: ClipSearchError, seconds: float) -> None:
        if error.code == _NO_ROOM:
            self._congestion.refused()
        try:
            await asyncio.wait_for(self._halt.wait(), seconds)
        except TimeoutError:
            return
        raise _Halted


def ingest(
    address: str,
    collection: str,
    source: Source,
    *,
    checkpoint: Path | str | None = None,
    fingerprint: str = "",
    options: IngestOptions = IngestOptions(),
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_failure: Callable[[Failure], None] = lambda failure: None,
    prune: bool = False,
    timeout: float = CALL_TIMEOUT_S,
    token: str | None = None,
    tls: ClientTls | None = None,
) -> IngestReport:
    """Loads a source into a collection that exists, through the search service at `address`.

    `prune` removes the points that the source no longer has; the report's `pruned` says how many. The
    other arguments are those of `Ingest` and of `AsyncClient`. Raises what `Ingest.run` raises.
    """

    async def run() -> IngestReport:
        async with AsyncClient(address, timeout=timeout, token=token, tls=tls) as client:
            loading = Ingest(
                client,
                collection,
                source,
                checkpoint=checkpoint,
                fingerprint=fingerprint,
                options=options,
                on_progress=on_progress,
                on_failure=on_failure,
            )
            report = await loading.run()
            return replace(report, pruned=await loading.prune()) if prune else report

    return asyncio.run(run())
