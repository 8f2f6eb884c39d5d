"""The search service on a Qdrant server beside plain calls of qdrant-client to the same server, by turns.

    python -m tests.bench.qdrant --qdrant BINARY          (make bench-qdrant QDRANT=BINARY)

Points have an image vector, a text vector and a payload. Upserts are batches of 256: the service gets four
at a time, as `clipsearch index` sends them, and again one after the other; the plain loop is one after the
other.
The default search (both names, calibrated) stands beside a plain prefetch of both names with RRF, and a
search of images beside a plain query. All to build/bench/qdrant.json; the exit status is 1 where the
service takes longer than it may.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from qdrant_client import QdrantClient, models

from clipsearch import Client, Point
from tests.processes import ServiceProcess
from tests.qdrant_nodes import Nodes

DIMENSION, BATCH, IN_FLIGHT, QUERIES, LIMIT = 512, 256, 4, 300, 10
SEARCH_AT_MOST, UPSERT_AT_LEAST = 1.3, 1.0
PLAIN, OURS = "plain", "ours"


def measure(binary: str, folder: Path, nodes: int, count: int) -> dict[str, Any]:
    """Runs in an empty folder; medians in ms, points a second, and the ratios to the plain client's."""
    random = np.random.default_rng(1)
    image, text, asked = (_unit(random.normal(size=(n, DIMENSION))) for n in (count, count, QUERIES))
    with Nodes(binary, folder, nodes) as cluster:
        service = ServiceProcess(
            "search", folder, SEARCH_ENCODER="127.0.0.1:1", **cluster.search_settings
        ).start()
        plain = QdrantClient(
            host=cluster.all[0].host, grpc_port=cluster.grpc_port, prefer_grpc=True, check_compatibility=False
        )
        try:
            with Client(service.address) as client:
                rates = _upserts(client, plain, image, text)
                searches = _searches(client, plain, asked)
        finally:
            plain.close()
            service.kill()
    return {
        "nodes": nodes,
        "points": count,
        "upserts_a_second": {name: round(rate) for name, rate in rates.items()},
        "upsert_ratio": round(rates[OURS] / rates[PLAIN], 2),
        "search_ms": {name: round(1e3 * seconds, 2) for name, seconds in searches.items()},
        "default_search_ratio": round(searches["default"] / searches["plain RRF"], 2),
        "image_search_ratio": round(searches["image"] / searches["plain image"], 2),
    }


def _upserts(client: Client, plain: QdrantClient, image: np.ndarray, text: np.ndarray) -> dict[str, float]:
    """By turns, four batches each: points a second."""
    client.create_collection(OURS, dimension=DIMENSION, fingerprint="bench")
    size = models.VectorParams(size=DIMENSION, distance=models.Distance.COSINE)
    plain.create_collection(PLAIN, vectors_config={"image": size, "text": size}, on_disk_payload=True)
    seconds = dict.fromkeys((OURS, "ours, one by one", PLAIN), 0.0)
    batches = [range(n, min(n + BATCH, len(image))) for n in range(0, len(image), BATCH)]

    def ours(rows: range) -> None:
        points = [
            Point(f"p{n}", image_vector=image[n], text_vector=text[n], payload=_payload(n)) for n in rows
        ]
        client.upsert(OURS, points)

    def theirs(rows: range) -> None:
        structs = [
            models.PointStruct(
                id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"p{n}")),
                vector={"image": image[n].tolist(), "text": text[n].tolist()},
                payload=_payload(n),
            )
            for n in rows
        ]
        plain.upsert(PLAIN, structs, wait=True)

    def in_flight(some: list[range]) -> None:
        list(threads.map(ours, some))

    def one_by_one(some: list[range], call: Callable[[range], None]) -> None:
        for rows in some:
            call(rows)

    with ThreadPoolExecutor(IN_FLIGHT) as threads:
        for first in range(0, len(batches), IN_FLIGHT):
            some = batches[first : first + IN_FLIGHT]
            seconds[OURS] += _timed(partial(in_flight, some))
            seconds[PLAIN] += _timed(partial(one_by_one, some, theirs))
            seconds["ours, one by one"] += _timed(partial(one_by_one, some, ours))
    return {name: len(image) / taken for name, taken in seconds.items()}


def _searches(client: Client, plain: QdrantClient, asked: np.ndarray) -> dict[str, float]:
    """By turns, of the collection that the service has filled: median seconds."""

    def rrf(vector: np.ndarray) -> object:
        return plain.query_points(
            OURS,
            prefetch=[
                models.Prefetch(query=vector.tolist(), using=u, limit=LIMIT) for u in ("image", "text")
            ],
            query=models.FusionQuery(fusion=models.Fusion.RRF),
            limit=LIMIT,
        )

    calls: dict[str, Callable[[np.ndarray], object]] = {
        "default": lambda vector: client.search(OURS, vector=vector, limit=LIMIT),
        "plain RRF": rrf,
        "image": lambda vector: client.search(OURS, vector=vector, limit=LIMIT, target="image"),
        "plain image": lambda vector: plain.query_points(
            OURS, query=vector.tolist(), using="image", limit=LIMIT
        ),
    }
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for turn, vector in enumerate(asked):
        for name, call in calls.items():
            seconds = _timed(lambda call=call, vector=vector: call(vector))  # type: ignore[misc]
            if turn >= 20:  # the first are warm-up
                taken[name].append(seconds)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def _payload(n: int) -> dict[str, Any]:
    return {"path": f"/pictures/{n}.jpg", "number": n, "brand": f"brand {n % 50}", "sold": n % 3 == 0}


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def _timed(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--qdrant", required=True)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--points", type=int, default=20_000)
    parser.add_argument("--out", type=Path, default=Path("build/bench/qdrant.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-qdrant-") as folder:
        report = measure(options.qdrant, Path(folder), options.nodes, options.points)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))
    if report["default_search_ratio"] > SEARCH_AT_MOST or report["upsert_ratio"] < UPSERT_AT_LEAST:
        sys.exit(f"bench-qdrant: at most {SEARCH_AT_MOST} and at least {UPSERT_AT_LEAST} are wanted")


if __name__ == "__main__":
    main()
