"""Fails the nodes of a Qdrant cluster, one at a time, under load, and counts what callers see of it.

    python -m tests.soak.chaos --qdrant BINARY --faults 200          (make chaos QDRANT=BINARY)

Three nodes, two copies of each shard, of which both must have a write (write consistency 2) and reads
go by the majority; two search services before them, and an encoder for each of two models. Writers
upsert and delete, readers get and search, a bulk load and a move to another model go on all the time.
A fault is SIGKILL, SIGTERM (the node is started again within two seconds), SIGSTOP for up to five, or
a full disk for up to three. The next comes when all copies are active again. The counts go to a JSON
file; the exit status is 1 if anything was lost, wrong or stale, or more calls failed than may.
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
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from clipsearch import AsyncClient, ClipSearchError
from clipsearch.client.retrying import PASSING
from tests.processes import SMALL_ENCODER, ServiceProcess
from tests.qdrant_nodes import Nodes, SmallDisk, all_active
from tests.soak.chaos_jobs import bulk_loads, moves
from tests.soak.model import DELETED, DIMENSION, Model, point, vector
from tests.toy_bundle import build_toy

COLLECTION = "chaos"
WRITERS, READERS, BATCH, IDS_A_WRITER = 3, 3, 16, 400
COMPARE_EVERY = 5  # faults
KINDS = ("kill", "term", "stop", "full")
HEALED_WITHIN_S = 90.0
DEADLINE_S = 10.0
DISK_MB = 3000  # in memory, as far as it is used
REPLICAS = {
    "STORAGE__COLLECTION__REPLICATION_FACTOR": "2",
    "STORAGE__COLLECTION__WRITE_CONSISTENCY_FACTOR": "2",
    "STORAGE__WAL__WAL_CAPACITY_MB": "4",
    "LOG_LEVEL": "WARN",
}
WRONG = ("duplicated", "stale", "resurrected", "invented")


class Chaos:
    """One run. `model` knows what was acknowledged; counts are of calls, unless they say otherwise."""

    def __init__(self, nodes: Nodes, disks: dict[str, SmallDisk], kinds: Sequence[str], seed: int) -> None:
        self._nodes, self._disks, self._kinds = nodes, disks, kinds
        self._since: list[str] = []  # faults since the last comparison
        self._random = random.Random(seed)
        self._writing = asyncio.Event()
        self.model = Model()
        self.wrong: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.faults_seen: Counter[str] = Counter()
        self.stale: Counter[str] = Counter()
        self.longest_s = 0.0

    async def run(self, client: AsyncClient, faults: int, limit_s: float) -> None:
        """So many faults, unless `limit_s` seconds pass before."""
        end = time.monotonic() + limit_s
        await client.create_collection(COLLECTION, dimension=DIMENSION, fingerprint="chaos")
        load = [self._write(client, n) for n in range(WRITERS)] + [self._read(client) for _ in range(READERS)]
        tasks = [asyncio.create_task(one) for one in load]
        self._writing.set()
        try:
            while self.faults.total() < faults and time.monotonic() < end:
                await asyncio.sleep(self._random.uniform(0.1, 0.6))
                await self._fault()
                if self.faults.total() % COMPARE_EVERY == 0:
                    await self._compare(client)
            await self._compare(client)
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for error in ended:
            if error is not None and not isinstance(error, asyncio.CancelledError):
                raise error

    async def call(self, kind: str, call: Callable[[], Awaitable[Any]]) -> Any:
        """Makes a call and counts it, with what became of it."""
        self.calls[kind] += 1
        begun = time.monotonic()
        try:
            return await call()
        except ClipSearchError as error:
            self.failed[f"{kind}: {error.code} {error.reason}: {error.message[:160]}"] += 1
            raise
        finally:
            self.longest_s = max(self.longest_s, time.monotonic() - begun)

    async def _fault(self) -> None:
        """One, of one node, and its end."""
        node = self._random.choice(self._nodes.all)
        kind = self._random.choice([kind for kind in self._kinds if kind != "full" or self._disks])
        self._since.append(f"{kind} of {node.host}")
        if kind == "stop":
            node.signal(signal.SIGSTOP)
            await asyncio.sleep(self._random.uniform(0.5, 5))
            node.signal(signal.SIGCONT)
        elif kind == "full":
            with self._disks[node.host].full():
                await asyncio.sleep(self._random.uniform(0.5, 3))
        else:
            await asyncio.to_thread(node.stop, signal.SIGKILL if kind == "kill" else signal.SIGTERM)
            await asyncio.sleep(self._random.uniform(0, 2))
            await asyncio.to_thread(node.start)
        self.faults[kind] += 1
        await asyncio.to_thread(self._healed)

    def _healed(self) -> None:
        end = time.monotonic() + HEALED_WITHIN_S
        while not all(all_active(node) for node in self._nodes.all):
            for node in self._nodes.all:
                if not node.alive():  # of a full disk it may die later
                    self.faults_seen["a node ended by itself"] += 1
                    node.start()
            if time.monotonic() > end:
                raise RuntimeError(f"not all copies are active after {HEALED_WITHIN_S} s")
            time.sleep(0.1)

    async def _write(self, client: AsyncClient, number: int) -> None:
        """Writes batch after batch to ids of its own, each until it is acknowledged; every tenth deletes."""
        chance = random.Random(number)
        kept = [f"w{number}-{n}" for n in range(IDS_A_WRITER)]
        deleted = [f"d{number}-{n}" for n in range(IDS_A_WRITER)]  # readers ask for none of these
        while True:
            turn = chance.random()
            batch = chance.sample(kept if turn < 0.8 else deleted, BATCH)
            if turn > 0.9:
                versions = dict.fromkeys(batch, DELETED)
                write: Callable[[], Awaitable[Any]] = partial(client.delete_points, COLLECTION, batch)
            else:
                versions = dict.fromkeys(batch, self.model.writes + 1)
                points = [point(id, version) for id, version in versions.items()]
                write = partial(client.upsert, COLLECTION, points)
            await self._until_acknowledged(versions, write)
            await asyncio.sleep(0.02)

    async def _until_acknowledged(
        self, versions: dict[str, int], write: Callable[[], Awaitable[Any]]
    ) -> None:
        await self._writing.wait()
        self.model.attempt(versions)
        while True:
            try:
                results = await self.call("write", write)
            except ClipSearchError as error:
                if error.code not in PASSING:
                    self.wrong[f"refused with {error.code}"] += 1
                await asyncio.sleep(0.05)
                continue
            refused = [r.error for r in results if r.error] if isinstance(results, list) else []
            if not refused:
                self.model.acknowledge(versions)
                return
            self.failed[f"write: {refused[0].code} {refused[0].reason}: {refused[0].message[:160]}"] += 1

    async def _read(self, client: AsyncClient) -> None:
        """Gets points that were acknowledged, and searches; an older point that is got by id is stale."""
        while True:
            await asyncio.sleep(0.01)
            known = {id: version for id, version in self.model.acknowledged.items() if id.startswith("w")}
            if not known:
                continue
            ids = self._random.sample(sorted(known), min(8, len(known)))
            asks = self._random.random() < 0.5
            get = partial(client.get_points, COLLECTION, ids, payload=["version"])
            nearest = vector(ids[0], known[ids[0]])
            search = partial(client.search, COLLECTION, vector=nearest, limit=5)
            try:
                found = await self.call("read", get if asks else search)
            except ClipSearchError:
                continue
            if asks:
                there = {one.id: int(one.payload["version"]) for one in found}
                self.stale["older"] += sum(there.get(id, known[id]) < known[id] for id in ids)
                self.stale["not there"] += sum(id not in there for id in ids)

    async def _compare(self, client: AsyncClient) -> None:
        self._writing.clear()
        end = time.monotonic() + HEALED_WITHIN_S
        await asyncio.sleep(0.01)  # a writer that was let go on a moment ago begins before it looks again
        while self.model.pending:
            if time.monotonic() > end:
                raise RuntimeError(f"a write is not acknowledged after {HEALED_WITHIN_S} s")
            await asyncio.sleep(0.01)
        for last in (False, True):
            try:
                listed = client.list_points(COLLECTION, page_size=1000, payload=["version"])
                found = [(one.id, int(one.payload["version"])) async for one in listed]
                count = await client.count(COLLECTION)
                break
            except ClipSearchError as error:
                if last or error.code not in PASSING:
                    raise
        wrong = +self.model.compare(found, count)
        if wrong:
            print(f"chaos: {dict(wrong)} after {', '.join(self._since)}", file=sys.stderr)
        self.wrong += wrong
        self._since.clear()
        self._writing.set()

    def report(self) -> dict[str, Any]:
        failures: Counter[str] = Counter()
        full = internal = 0
        for words, count in self.failed.items():
            kind, code, reason, *_ = words.replace(":", "").split(" ")
            internal += count * (code in ("INTERNAL", "UNKNOWN"))
            if reason == "STORE_DISK_FULL":
                full += count
            else:
                failures[kind] += count
        return {
            "faults": self.faults.total(),
            "lost": self.wrong["lost"],
            "wrong": sum(self.wrong.values()) - self.wrong["lost"],
            "internal": internal,
            "stale": self.stale.total(),
            "reads_failed_share": round(failures["read"] / max(1, self.calls["read"]), 5),
            "writes_failed_share": round(failures["write"] / max(1, self.calls["write"]), 5),
            "writes_refused_for_a_full_disk": full,
            "calls": dict(self.calls),
            "failed": dict(self.failed),
            "faults_by_kind": dict(self.faults),
            **self.faults_seen,
            "wrong_by_kind": dict(self.wrong),
            "stale_by_kind": dict(self.stale),
            "points_acknowledged": self.model.writes,
            "longest_call_s": round(self.longest_s, 2),
        }


def chaos(
    binary: str, folder: Path, model: Path, faults: int, kinds: Sequence[str], seed: int, limit_s: float
) -> dict[str, Any]:
    """Runs in an empty folder, with the bundle `model` and a toy; returns the counts."""
    with ExitStack() as stack:
        nodes = Nodes(binary, folder, 3, **REPLICAS)
        disks: dict[str, SmallDisk] = {}
        try:
            for node in nodes.all:
                disks[node.host] = SmallDisk(node.folder / "storage", DISK_MB)
                stack.callback(disks[node.host].close)
        except PermissionError as error:
            disks = {}
            print(f"chaos: no full disks: {error}", file=sys.stderr)
        stack.enter_context(nodes)

        def start(kind: str, **settings: str) -> str:
            process = ServiceProcess(kind, folder, **settings)
            stack.callback(process.kill)
            return process.start().address

        build_toy(folder / "toy")
        encoder = start("encoder", ENCODER_MODEL=str(model), **SMALL_ENCODER)
        second = start("encoder", ENCODER_MODEL=str(folder / "toy"), **SMALL_ENCODER)
        settings = {
            **nodes.search_settings,
            "SEARCH_QDRANT_CONSISTENCY": "majority",
            "SEARCH_ENCODER": encoder,
            "SEARCH_SECOND_ENCODER": second,
        }
        target = "ipv4:" + ",".join(start("search", **settings) for _ in range(2))

        async def run() -> dict[str, Any]:
            it, begun, jobs = Chaos(nodes, disks, kinds, seed), time.monotonic(), Counter[str]()
            async with AsyncClient(target, timeout=DEADLINE_S) as client:
                others = [
                    asyncio.create_task(job(target, folder, client, it.call, jobs))
                    for job in (bulk_loads, moves)
                ]
                try:
                    await it.run(client, faults, limit_s)
                finally:
                    for other in others:
                        other.cancel()
                    ended = await asyncio.gather(*others, return_exceptions=True)
            for error in ended:
                if isinstance(error, Exception):
                    raise error
            report = {"seed": seed, **it.report(), **jobs, "seconds": round(time.monotonic() - begun)}
            report["lost"] += jobs["bulk_points_lost"] + jobs["moved_points_lost"]
            return report

        return asyncio.run(run())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--qdrant", required=True)
    parser.add_argument("--model", type=Path, default=Path("build/models/starter"))
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit-s", type=float, default=3600)
    parser.add_argument("--out", type=Path, default=Path("build/chaos.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        report = chaos(
            options.qdrant,
            Path(folder),
            options.model,
            options.faults,
            options.kinds,
            options.seed,
            options.limit_s,
        )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))
    bad = [name for name in ("lost", "wrong", "internal", "stale") if report[name]]
    bad += [f"no {name}" for name in ("moves", "bulk_loads") if not report.get(name)]
    bad += [
        name
        for name, most in (("reads_failed_share", 0.001), ("writes_failed_share", 0.005))
        if report[name] > most
    ]
    if bad or report["faults"] < options.faults:
        sys.exit(
            f"chaos: {report['faults']} of {options.faults} faults; too much: {', '.join(bad) or 'nothing'}"
        )


if __name__ == "__main__":
    main()
