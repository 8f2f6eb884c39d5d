"""The measurements of the run, one after another, and how long each may take."""

from __future__ import annotations

from dataclasses import dataclass

from clipsearch import Client
from tests.bench.search import corpus, local
from tests.bench.search.calls import QUERIES
from tests.bench.search.exact import Truth, nearest
from tests.bench.search.indexing import Indexing, watch_indexing
from tests.bench.search.loading import load_points
from tests.bench.search.rig import Row, SearchRig

SMALL, LARGE = 10_000, 100_000  # below 20,000 vectors a collection has no index and is searched exactly

ROUNDS = 3
SERVICE_S = 1.5
CLIENTS = 16
# Of local mode a search takes 130 ms at 100,000 points, with a filter 1.5 s.
LOCAL_SEARCHES = 5
LOCAL_FILTERED = 2
LOCAL_DISK_POINTS = 4_000
LIMIT_S = 300.0


@dataclass(frozen=True, slots=True)
class Rounds:
    """Searches of one collection, a row a round."""

    default: list[Row]
    vector: list[Row]
    filtered: list[Row]


@dataclass(frozen=True, slots=True)
class Large:
    """All that was measured on the large collection. Each round met the same machine."""

    ingest_per_s: list[float]
    indexing: Indexing
    rounds: Rounds
    local_ms: list[float]  # of single searches in local mode
    local_filtered_ms: list[float]
    text: list[Row]  # words in, hits out
    texts: list[Row]  # the same, CLIENTS at once


def measure_small(rig: SearchRig) -> Rounds:
    """The same searches as of the large collection, for how they grow."""
    _load(rig, "small", SMALL)
    truth, rounds = _truth(rig, SMALL), Rounds([], [], [])
    for _ in range(ROUNDS):
        _round(rig, "small", truth, rounds)
    return rounds


def measure_large(rig: SearchRig) -> Large:
    """Loads, waits for the index under load, then goes round: the service and local mode in turns."""
    rates = [_load(rig, "large", LARGE)]
    for _ in range(ROUNDS - 1):
        with Client(rig.service.address, timeout=120) as client:
            client.delete_collection("large")
        rates.append(_load(rig, "large", LARGE))
    found = Large(rates, _indexing(rig, "large"), Rounds([], [], []), [], [], [], [])
    rig.run("local", local.load_memory, LARGE)
    truth = _truth(rig, LARGE)
    for number in range(ROUNDS):
        _round(rig, "large", truth, found.rounds)
        for filtered, count, into in (
            (False, LOCAL_SEARCHES, found.local_ms),
            (True, LOCAL_FILTERED, found.local_filtered_ms),
        ):
            asked = range(number * count, (number + 1) * count)
            into += rig.run("local", local.search, filtered, asked)
            rig.say(f"local mode{', filtered' * filtered}: {into[-1]:.0f} ms")
    for _ in range(ROUNDS):
        found.text.append(rig.load("large", "text", 1, 2.0))
        found.texts.append(rig.load("large", "text", CLIENTS, 2.0))
    return found


def measure_disk(rig: SearchRig) -> list[float]:
    """Points a second of local mode writing to disk."""
    rates = []
    for number in range(ROUNDS):
        rates.append(rig.run("local", local.load_disk, rig.data / f"local-{number}", LOCAL_DISK_POINTS))
        rig.say(f"local mode on disk: {rates[-1]:,.0f}/s")
    return rates


def _truth(rig: SearchRig, points: int) -> Truth:
    rig.say(f"{points:,} points: the exact answers")
    return nearest(corpus.queries(QUERIES), corpus.blocks(points))


def _load(rig: SearchRig, name: str, points: int) -> float:
    rate = rig.submit("client", load_points, rig.service.address, name, points).result(LIMIT_S)
    rig.say(f"{points:,} points loaded: {rate:,.0f}/s")
    return rate


def _round(rig: SearchRig, name: str, truth: Truth, into: Rounds) -> None:
    into.default.append(rig.load(name, "default", 1, SERVICE_S, truth["vector"]))
    into.vector.append(rig.load(name, "vector", 1, SERVICE_S, truth["vector"]))
    into.filtered.append(rig.load(name, "filtered", 1, SERVICE_S, truth["filtered"]))


def _indexing(rig: SearchRig, name: str) -> Indexing:
    metrics = rig.service.metrics_address()
    work = rig.submit("client", watch_indexing, rig.service.address, metrics, name, LIMIT_S)
    found = work.result(LIMIT_S + 60)
    rig.say(
        f"indexed after {found.seconds:.0f} s; meanwhile {found.searches.ok_per_s:.0f} searches/s, "
        f"p50 {found.searches.p50_ms:.1f} ms, longest stall {found.max_stall_ms:.0f} ms"
    )
    return found
