"""Bulk loading: many pictures into a collection, several batches in flight, nothing encoded twice.

A picture's id is the hash of its content, and every batch first asks which ids are there already.
So a run that was killed is resumed by running it again, and no checkpoint needs to be kept. Of
several files with the same content one becomes the point, the first that is met; a file that was
moved keeps the path it was indexed with.

Files are read as they are sent: memory holds at most `flights` batches.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import TypeVar

from clipsearch.aio import AsyncClient
from clipsearch.backoff import PASSING, Patience
from clipsearch.connection import MAX_MESSAGE_BYTES
from clipsearch.errors import ClipSearchError
from clipsearch.inputs import Point
from clipsearch.results import UpsertResult
from clipsearch.sources import batches, read_picture

Answer = TypeVar("Answer")

# A whole batch refused for what is in it: halves are tried, down to the file at fault.
_BLAMES_THE_BATCH = "INVALID_ARGUMENT"
# gRPC itself says "message larger than max" with this code; a full service adds when to come back.
_TOO_LARGE = "RESOURCE_EXHAUSTED"

_LARGEST_FILE = MAX_MESSAGE_BYTES - 64 * 1024  # room for the payload and the rest of the request


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How to load. A batch holds at most `batch_points` files and about `batch_bytes` bytes.

    `flights` batches are under way at a time. When nothing at all got through for `patience_s`
    seconds, the run gives up.
    """

    batch_points: int = 32
    batch_bytes: int = 8 * 1024 * 1024
    flights: int = 4
    patience_s: float = 120.0


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that was not indexed, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    `already` counts files whose content is in the collection, from before or from another file.
    """

    total: int | None
    indexed: int
    already: int
    failed: int
    elapsed_s: float

    @property
    def done(self) -> int:
        """Files dealt with."""
        return self.indexed + self.already + self.failed

    @property
    def rate(self) -> float:
        """Files a second, from the start."""
        return self.done / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def remaining_s(self) -> float | None:
        """Seconds left at this rate; None while nothing is known."""
        if self.total is None or not self.rate:
            return None
        return max(0, self.total - self.done) / self.rate


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What came of a run; counts as in Progress. `interrupted`: it ended before the last file."""

    indexed: int
    already: int
    failures: tuple[Failure, ...]
    interrupted: bool
    elapsed_s: float


class IngestStopped(Exception):
    """The run could not go on: `cause` says why, `report` what had been done by then."""

    def __init__(self, cause: ClipSearchError, report: IngestReport) -> None:
        super().__init__(cause.message)
        self.cause = cause
        self.report = report


class _Halted(Exception):
    """The run is ending; what waits to be tried again is given up."""


class Ingest:
    """One run over picture files: workers take batches from one stream.

    `on_progress` is called after every batch. Bad files are listed in the report and do not stop
    the others.
    """

    def __init__(
        self,
        client: AsyncClient,
        collection: str,
        pictures: Iterable[Path],
        *,
        total: int | None = None,
        options: IngestOptions = IngestOptions(),
        on_progress: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self._client = client
        self._collection = collection
        self._batches = batches(pictures, options.batch_points, options.batch_bytes)
        self._total = total
        self._options = options
        self._on_progress = on_progress
        self._patience = Patience(options.patience_s)
        self._taking = asyncio.Lock()
        self._in_flight: set[str] = set()
        self._halt = asyncio.Event()
        self._broken: ClipSearchError | None = None
        self._indexed = 0
        self._already = 0
        self._failures: list[Failure] = []
        self._started = time.monotonic()

    def stop(self) -> None:
        """Ends the run early: batches in flight are finished, the rest is left."""
        self._halt.set()

    async def run(self) -> IngestReport:
        """Works until the last file.

        Raises IngestStopped when the service refuses the run as a whole, or stays away for longer
        than the patience allows.
        """
        async with asyncio.TaskGroup() as group:
            for _ in range(self._options.flights):
                group.create_task(self._work())
        report = IngestReport(
            self._indexed, self._already, tuple(self._failures), self._halt.is_set(), self._elapsed()
        )
        if self._broken is not None:
            raise IngestStopped(self._broken, report)
        return report

    async def _work(self) -> None:
        while not self._halt.is_set() and (batch := await self._take()) is not None:
            try:
                await self._index(batch)
            except _Halted:
                return
            except ClipSearchError as error:
                self._broken = self._broken or error
                self._halt.set()
            self._on_progress(
                Progress(self._total, self._indexed, self._already, len(self._failures), self._elapsed())
            )

    async def _take(self) -> list[Path] | None:
        async with self._taking:
            return await asyncio.to_thread(next, self._batches, None)

    async def _index(self, batch: list[Path]) -> None:
        """Reads, asks what is there, writes the rest."""
        files, failures = await asyncio.to_thread(_read, batch)
        self._failures += failures
        fresh: dict[str, _File] = {}
        for file in files:
            if file.point.id not in self._in_flight:
                fresh.setdefault(file.point.id, file)
        self._in_flight |= fresh.keys()
        try:
            there = await self._there(list(fresh))
            missing = [file for id, file in fresh.items() if id not in there]
            self._already += len(files) - len(missing)
            await self._write(missing)
            self._patience.renew()
        finally:
            self._in_flight -= fresh.keys()

    async def _there(self, ids: list[str]) -> set[str]:
        if not ids:
            return set()
        ask = partial(self._client.get_points, self._collection, ids, payload=False)
        return {point.id for point in await self._patiently(ask)}

    async def _write(self, files: list[_File]) -> None:
        """Upserts, again and again for points that only met a busy service."""
        for attempt in count():
            if not files:
                return
            refused = await self._upsert(files)
            if refused:
                await self._wait(refused[0][1], attempt)
            files = [file for file, _ in refused]

    async def _upsert(self, files: list[_File]) -> list[tuple[_File, ClipSearchError]]:
        """One attempt; returns those to try again and why."""
        points = [file.point for file in files]
        try:
            results = await self._patiently(partial(self._client.upsert, self._collection, points))
        except ClipSearchError as error:
            if not _is_about_content(error):
                raise
            if len(files) == 1:
                self._failures.append(Failure(files[0].path, _reason(error)))
                return []
            middle = len(files) // 2
            return await self._upsert(files[:middle]) + await self._upsert(files[middle:])
        return self._sort(files, results)

    def _sort(self, files: list[_File], results: list[UpsertResult]) -> list[tuple[_File, ClipSearchError]]:
        refused = []
        for file, result in zip(files, results, strict=True):
            if result.error is None:
                self._indexed += 1
                self._patience.renew()
            elif result.error.code in PASSING:
                refused.append((file, result.error))
            else:
                self._failures.append(Failure(file.path, _reason(result.error)))
        return refused

    async def _patiently(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """Makes a call until it is answered, or patience ends."""
        for attempt in count():
            try:
                answer = await call()
            except ClipSearchError as error:
                if error.code not in PASSING or _is_about_content(error):
                    raise
                await self._wait(error, attempt)
            else:
                return answer
        raise AssertionError("count() has no end")

    async def _wait(self, error: ClipSearchError, attempt: int) -> None:
        pause = self._patience.pause(error, attempt)
        try:
            await asyncio.wait_for(self._halt.wait(), pause)
        except TimeoutError:
            return
        raise _Halted

    def _elapsed(self) -> float:
        return time.monotonic() - self._started


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    point: Point


def _read(batch: list[Path]) -> tuple[list[_File], list[Failure]]:
    files, failures = [], []
    for path in batch:
        try:
            size = path.stat().st_size
            if size > _LARGEST_FILE:
                failures.append(Failure(path, f"is {size:,} bytes; at most {_LARGEST_FILE:,} can be sent"))
                continue
            files.append(_File(path, read_picture(path)))
        except OSError as error:
            failures.append(Failure(path, error.strerror or str(error)))
    return files, failures


def _is_about_content(error: ClipSearchError) -> bool:
    if error.code == _TOO_LARGE:
        return error.retry_after is None and not error.reason
    return error.code == _BLAMES_THE_BATCH


def _reason(error: ClipSearchError) -> str:
    """The message without the field, whose index counts inside a batch that the user never sees."""
    return error.message.removeprefix(f"{error.field}: ")
