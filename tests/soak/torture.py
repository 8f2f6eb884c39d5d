"""Kills the search service again and again while points are written, and looks whether any was lost.

    python -m tests.soak.torture --kills 100          (make torture)

Writers upsert, overwrite and delete points over the wire and make each write again until it is
acknowledged. SIGKILL hits the service at seeded moments, its engine and index builders with it; after
each restart, on the same port, everything that the collection holds is compared with what was
acknowledged. The counts go to a JSON file; the exit status is 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from clipsearch import AsyncClient, ClipSearchError
from clipsearch.client.retrying import PASSING
from tests.ports import kept_port
from tests.processes import ServiceProcess
from tests.soak.model import DELETED, DIMENSION, Model, point, vector

COLLECTION = "torture"
WRITERS = 4
BATCH = 64
IDS_A_WRITER = 1500
SAMPLE = 50
WRONG = ("lost", "duplicated", "stale", "resurrected", "invented", "damaged")


class Torture:
    """One run. `model` knows what was acknowledged, `wrong` counts what was not as it must be."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._data = folder / "data"
        self._service = ServiceProcess(
            "search",
            folder,
            SEARCH_DATA_DIR=str(self._data),
            SEARCH_INDEX_THRESHOLD="1500",  # built early and often, so that kills meet it half-built
            SEARCH_INDEX_QUIET_S="0.1",
            SEARCH_INDEX_BUSY_S="1",
            SEARCH_ENCODER="127.0.0.1:1",  # vectors are ready-made
        )
        self._random = random.Random(seed)
        self._writing = asyncio.Event()
        self._calls = 0  # writes under way
        self.model = Model()
        self.wrong: Counter[str] = Counter()
        self.counts: Counter[str] = Counter(kills=0)

    async def run(self, kills: int, limit_s: float, port: int) -> None:
        """Kills `kills` times, unless `limit_s` seconds pass before; the service is always at `port`."""
        end = time.monotonic() + limit_s
        self._service.start(port)
        try:
            async with AsyncClient(self._service.address, timeout=10) as client:
                await client.create_collection(COLLECTION, dimension=DIMENSION, fingerprint="torture")
                writers = [asyncio.create_task(self._write(client, n)) for n in range(WRITERS)]
                try:
                    while self.counts["kills"] < kills and time.monotonic() < end:
                        await self._round(client)
                    self._writing.set()
                    await asyncio.sleep(1)
                    self._writing.clear()
                finally:
                    for writer in writers:
                        writer.cancel()
                    ended = await asyncio.gather(*writers, return_exceptions=True)
                for error in ended:
                    if error is not None and not isinstance(error, asyncio.CancelledError):
                        raise error
                await self._verify(client)
            self.counts["indexes_built"] = self._service.text().count("index was looked after")
        finally:
            self._service.stop(signal.SIGKILL)

    async def _round(self, client: AsyncClient) -> None:
        """Writes for a moment, kills, starts again and compares."""
        self._writing.set()
        await asyncio.sleep(self._random.uniform(0.02, 0.8))
        if self._random.random() < 0.4:  # the index is built when the writers are quiet
            self._writing.clear()
            await asyncio.sleep(self._random.choice([0.2, 0.4, 0.8, 1.6]))
            self._writing.set()
            await asyncio.sleep(self._random.uniform(0.01, 0.2))
        self._writing.clear()  # what fails now is made again only after the comparison
        self._service.stop(signal.SIGKILL)
        self.counts["kills"] += 1
        self.counts["kills_during_writes"] += bool(self.model.pending)
        self.counts["kills_during_indexing"] += any(self._data.glob("collections/*/*.record"))
        await asyncio.to_thread(self._service.start, self._service.port)
        await self._verify(client)

    async def _write(self, client: AsyncClient, number: int) -> None:
        """Writes batch after batch to ids of its own, each until it is acknowledged."""
        chance = random.Random(self._random.random())
        ids = [f"w{number}-{n}" for n in range(IDS_A_WRITER)]
        while True:
            batch = chance.sample(ids, BATCH)
            if chance.random() < 0.1:
                versions = dict.fromkeys(batch, DELETED)
                write: Callable[[], Awaitable[Any]] = partial(client.delete_points, COLLECTION, batch)
            else:
                versions = dict.fromkeys(batch, self.model.writes + 1)
                points = [point(id, version) for id, version in versions.items()]
                write = partial(client.upsert, COLLECTION, points)
            await self._until_acknowledged(versions, write)

    async def _until_acknowledged(
        self, versions: dict[str, int], write: Callable[[], Awaitable[Any]]
    ) -> None:
        while True:
            await self._writing.wait()
            self._calls += 1
            self.model.attempt(versions)
            try:
                results = await write()
                break
            except ClipSearchError as error:
                if error.code not in PASSING:
                    raise
                self.counts["calls_interrupted"] += 1
            finally:
                self._calls -= 1
        if isinstance(results, list) and any(result.error for result in results):
            raise AssertionError(f"a good point was refused: {results}")
        self.model.acknowledge(versions)

    async def _verify(self, client: AsyncClient) -> None:
        while self._calls:  # noqa: ASYNC110 - for as long as a call to a killed service takes to fail
            await asyncio.sleep(0.01)
        points = await _patiently(lambda: _all_points(client))
        count = await _patiently(lambda: client.count(COLLECTION))
        self.wrong += self.model.compare(points, count)
        there = dict(points)
        sample = self._random.sample(sorted(there), min(SAMPLE, len(there)))
        for found in await client.get_points(COLLECTION, sample, with_vectors=True):
            expected = vector(found.id, int(found.payload["version"]))
            if found.image_vector is None or not np.allclose(found.image_vector, expected, atol=1e-5):
                self.wrong["damaged"] += 1
        self.counts["comparisons"] += 1
        self.counts["points_at_the_end"] = count

    def report(self) -> dict[str, Any]:
        return {
            **{name: self.wrong[name] for name in WRONG},
            **self.counts,
            "writes_acknowledged": self.model.writes,
        }


async def _all_points(client: AsyncClient) -> list[tuple[str, int]]:
    listed = client.list_points(COLLECTION, page_size=1000, payload=["version"])
    return [(point.id, int(point.payload["version"])) async for point in listed]


async def _patiently(call: Callable[[], Awaitable[Any]]) -> Any:
    """The channel finds the service again within seconds."""
    end = time.monotonic() + 20
    while True:
        try:
            return await call()
        except ClipSearchError as error:
            if error.code not in PASSING or time.monotonic() > end:
                raise
            await asyncio.sleep(0.05)


def torture(folder: Path, kills: int, seed: int, limit_s: float) -> dict[str, Any]:
    """Runs in an empty folder; returns the counts."""

    async def run() -> dict[str, Any]:
        it = Torture(folder, seed)
        begun = time.monotonic()
        with kept_port() as port:
            await it.run(kills, limit_s, port)
        return {"seed": seed, **it.report(), "seconds": round(time.monotonic() - begun)}

    return asyncio.run(run())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        report = torture(Path(folder), options.kills, options.seed, limit_s=480)
    Path("build").mkdir(exist_ok=True)
    Path("build/torture.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))
    wrong = sum(report[name] for name in WRONG)
    if wrong or report["kills"] < options.kills:
        sys.exit(f"torture: {wrong} wrong, {report['kills']} of {options.kills} kills")


if __name__ == "__main__":
    main()
