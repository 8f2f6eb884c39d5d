"""Stops replicas with SIGTERM under load, one after another, and counts the calls that fail.

    python -m tests.soak.drain --signals 20          (make drain)

Two encoders, and two search services in front of them (each with a data directory of its own that
holds the same points), are called all the time by the project's own clients, with the retry policy of
their channels and nothing more. Each SIGTERM hits one of the four; it is started again on its port
before the next. The counts go to a JSON file; the exit status is 1 if a call failed or a process did
not end with status 0.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from clipsearch import AsyncClient, AsyncEncoderClient, Client, ClipSearchError, Point
from clipsearch.downloads.samples import write_samples
from tests.health import Health
from tests.ports import kept_port
from tests.processes import SMALL_ENCODER, ServiceProcess

CALLERS = 2  # of each kind of call
VECTOR = np.eye(512, dtype=np.float32)[0]


class Load:
    """Calls that are made again and again; `failures` says what became of those that failed."""

    def __init__(self, searches: AsyncClient, encoders: AsyncEncoderClient, picture: Path) -> None:
        self._searches, self._encoders, self._picture = searches, encoders, picture
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self.in_flight = 0

    def calls(self) -> list[Callable[[int], Awaitable[Any]]]:
        """One of each kind; the number makes them differ, so that no cache answers."""
        return [
            lambda n: self._searches.search("c", f"the {n}th kitten"),
            lambda n: self._searches.search("c", vector=VECTOR),
            lambda n: self._searches.upsert("c", [Point(f"p{n % 100}", text=f"kitten {n}")]),
            lambda n: self._searches.count("c"),
            lambda n: self._encoders.encode_texts([f"a dog, number {n}"]),
            lambda n: self._encoders.encode_images([self._picture]),
        ]

    async def repeat(self, call: Callable[[int], Awaitable[Any]], start: int) -> None:
        """Makes a call for ever."""
        number = start
        while True:
            number += 1
            self.in_flight += 1
            try:
                await call(number)
                self.counts["answered"] += 1
            except ClipSearchError as error:
                self.failures.append(f"{error.code}: {error.message}")
            finally:
                self.in_flight -= 1
            await asyncio.sleep(0.02)


def drain(folder: Path, model: Path, signals: int) -> dict[str, Any]:
    """Runs in an empty folder with the bundle `model`; returns the counts."""
    made: list[ServiceProcess] = []
    ports = ExitStack()

    def start(kind: str, **settings: str) -> ServiceProcess:
        made.append(ServiceProcess(kind, folder, **settings))
        return made[-1].start(ports.enter_context(kept_port()))

    try:
        encoders = [start("encoder", ENCODER_MODEL=str(model), **SMALL_ENCODER) for _ in range(2)]
        target = _target(encoders)
        searches = [
            start("search", SEARCH_ENCODER=target, SEARCH_DATA_DIR=str(folder / f"data{n}")) for n in range(2)
        ]
        for search in searches:
            with Client(search.address) as client:
                client.create_collection("c")
                client.upsert("c", [Point(f"p{n}", text=f"kitten {n}") for n in range(100)])
        picture = write_samples(folder / "photos")[0]
        return asyncio.run(_run(encoders, searches, picture, signals))
    finally:
        for process in made:
            process.stop(signal.SIGKILL)
        ports.close()


async def _run(
    encoders: list[ServiceProcess], searches: list[ServiceProcess], picture: Path, signals: int
) -> dict[str, Any]:
    replicas = [searches[0], encoders[0], searches[1], encoders[1]]
    statuses: list[int] = []
    in_flight: list[int] = []
    async with AsyncClient(_target(searches)) as client, AsyncEncoderClient(_target(encoders)) as encoder:
        load = Load(client, encoder, picture)
        callers = [
            asyncio.create_task(load.repeat(call, 1_000_000 * n))
            for n, call in enumerate(load.calls() * CALLERS)
        ]
        await asyncio.sleep(1)
        for number in range(signals):
            process = replicas[number % len(replicas)]
            in_flight.append(load.in_flight)
            statuses.append(await asyncio.to_thread(process.stop, signal.SIGTERM))
            await asyncio.to_thread(process.start, process.port)
            await asyncio.to_thread(_until_serving, process)
            # As Kubernetes does, the next goes only when this one has its share of the calls again.
            await asyncio.sleep(2.5)
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
    return {
        "signals": signals,
        "calls_answered": load.counts["answered"],
        "calls_failed": len(load.failures),
        "failures": dict(Counter(load.failures)),
        "least_in_flight_at_a_signal": min(in_flight),
        "exit_statuses": dict(Counter(map(str, statuses))),
    }


def _target(processes: list[ServiceProcess]) -> str:
    return f"ipv4:{','.join(process.address for process in processes)}"


def _until_serving(process: ServiceProcess) -> None:
    health = Health(process.address)
    health.becomes("SERVING")
    health.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--signals", type=int, default=20)
    parser.add_argument("--model", type=Path, default=Path("build/models/starter"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="drain-") as folder:
        report = drain(Path(folder), options.model.absolute(), options.signals)
    Path("build").mkdir(exist_ok=True)
    Path("build/drain.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))
    if report["calls_failed"] or set(report["exit_statuses"]) != {"0"}:
        sys.exit("drain: a call failed, or a process did not end well")


if __name__ == "__main__":
    main()
