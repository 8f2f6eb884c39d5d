"""The search service is killed while it takes writes and builds its index; nothing acknowledged is lost.

INDEX_KILLS=20 kills it twenty times, SEED=n at other moments.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from clipsearch import Client, ClipSearchError, Point

KILLS = int(os.environ.get("INDEX_KILLS", "4"))
SEED = int(os.environ.get("SEED", "1"))
DIMENSION = 64
BATCH = 32
WRITERS = 2
GONE = -1
pytestmark = [pytest.mark.slow, pytest.mark.timeout(60 + 30 * KILLS)]


def vector(n: int, version: int) -> np.ndarray:
    numbers = np.random.default_rng([n, version]).standard_normal(DIMENSION).astype(np.float32)
    return numbers / np.linalg.norm(numbers)


class Writer:
    """Writes, replaces and deletes points of its own, and knows what each of them must or may be.

    `known[n]` is the version of point n that was acknowledged, `doubtful[n]` one that was sent and
    never answered.
    """

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.known: dict[int, int] = {}
        self.doubtful: dict[int, int] = {}
        self._random = random.Random(seed)

    def id(self, n: int) -> str:
        return f"{self.name}-{n}"

    def write_until_it_dies(self, address: str) -> None:
        with Client(address) as client:
            while True:
                new = range(len(self.known), len(self.known) + BATCH)
                again = self._random.sample(range(len(self.known)), 8) if self.known else []
                sent = {
                    n: self.known.get(n, 0) + 1 if self.known.get(n) != GONE else 1 for n in (*new, *again)
                }
                gone = dict.fromkeys(self._random.sample(sorted(self.known), 4) if self.known else [], GONE)
                try:
                    self.doubtful = sent
                    points = [self._point(n, version) for n, version in sent.items()]
                    assert all(result.error is None for result in client.upsert("c", points))
                    self.known.update(sent)
                    self.doubtful = gone
                    if gone:
                        client.delete_points("c", [self.id(n) for n in gone])
                    self.known.update(gone)
                    self.doubtful = {}
                except ClipSearchError:
                    return

    def check(self, client: Client) -> int:
        """Compares what is there with what must be; returns how many points there are."""
        told = sorted({*self.known, *self.doubtful})
        found: dict[int, int] = {}
        for start in range(0, len(told), 500):
            part = told[start : start + 500]
            for point in client.get_points("c", [self.id(n) for n in part], with_vectors=True):
                n, version = int(point.payload["n"]), int(point.payload["version"])
                np.testing.assert_allclose(point.image_vector, vector(n, version), atol=1e-5)
                found[n] = version
        for n in told:
            allowed = {self.known.get(n, GONE), self.doubtful.get(n, self.known.get(n, GONE))}
            assert found.get(n, GONE) in allowed, f"{self.id(n)} is {found.get(n)}, must be in {allowed}"
        self.known = {n: found.get(n, GONE) for n in told}
        self.doubtful = {}
        return len(found)

    def _point(self, n: int, version: int) -> Point:
        return Point(
            self.id(n),
            image_vector=vector(n, version),
            payload={"n": n, "version": version, "who": self.name},
        )


def test_every_acknowledged_point_is_there_after_kills_during_ingest_and_indexing(service, tmp_path):
    moments = random.Random(SEED)
    data = tmp_path / "data"
    process = service(
        "search",
        SEARCH_ENCODER="127.0.0.1:1",
        SEARCH_DATA_DIR=str(data),
        SEARCH_INDEX_THRESHOLD="200",
        SEARCH_INDEX_BUSY_S="0.1",
        SEARCH_INDEX_QUIET_S="0.1",
    )
    with Client(process.start().address) as client:
        client.create_collection(
            "c", dimension=DIMENSION, fingerprint="f", payload_indexes={"who": "keyword", "n": "integer"}
        )
    writers = [Writer(f"w{number}", SEED * 100 + number) for number in range(WRITERS)]
    building = 0
    for kill in range(KILLS):
        threads = [
            threading.Thread(target=writer.write_until_it_dies, args=(process.address,)) for writer in writers
        ]
        for thread in threads:
            thread.start()
        time.sleep(moments.uniform(0.2, 2.0))
        process.stop(signal.SIGKILL)
        building += len(shards(data)) > 1
        for thread in threads:
            thread.join()
        with Client(process.start().address) as client:
            there = sum(writer.check(client) for writer in writers)
            assert client.count("c") == there, f"kill {kill}"
            assert client.count("c", filter=["who=w0"]) + client.count("c", filter=["who=w1"]) == there
            sought = moments.choice([n for n, version in writers[0].known.items() if version != GONE])
            nearest = client.search("c", vector=vector(sought, writers[0].known[sought]), limit=1)[0]
            assert nearest.id == writers[0].id(sought)
    with Client(process.address) as client:
        wait_for_index(client)
    assert process.stop(signal.SIGTERM) == 0
    (last,) = shards(data)
    print(f"\n{KILLS} kills, {building} during a build; {there} points, now in {last}")
    assert building, "no kill fell into a build: the test would prove nothing"
    assert last != "shard.1"


def shards(data: Path) -> list[str]:
    return sorted(path.name for path in (data / "collections" / "c").glob("shard.*") if path.is_dir())


def wait_for_index(client: Client) -> None:
    end = time.monotonic() + 30
    while client.get_collection("c").indexed_share < 0.9:
        assert time.monotonic() < end, "no index was built"
        time.sleep(0.1)
