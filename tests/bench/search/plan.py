"""The measurements of the run, one after another, and how long each may take."""

from __future__ import annotations

import dataclasses
import statistics
from dataclasses import dataclass

from clipsearch import Client, EncoderClient
from tests.bench.encoder.corpus import query as words
from tests.bench.search import corpus, local
from tests.bench.search.calls import QUERIES, Kind
from tests.bench.search.corpus import FilterName
from tests.bench.search.exact import Numbers, nearest, recall
from tests.bench.search.indexing import Indexing, watch_indexing
from tests.bench.search.loading import Ingest, load_points
from tests.bench.search.rig import Row, SearchRig

SIZES = (10_000, 100_000)
LARGE = 1_000_000
TEXTS_AT = 100_000
INDEX_FROM = 20_000  # vectors; smaller collections are searched exactly

ROUNDS = 3
SERVICE_S = 1.5
CLIENTS = 16
# Of local mode a search takes 130 ms at 100,000 points, with a filter 1.5 s.
LOCAL_SEARCHES = 5
LOCAL_FILTERED = 2
LOCAL_DISK_POINTS = 4_000
TEXTS_CHECKED = 40  # of each load
LIMIT_S = 300.0
LARGE_LIMIT_S = 3600.0

Truth = dict[FilterName | None, Numbers]
_TRUTH_OF: dict[Kind, FilterName | None] = {
    "vector": None,
    "both sides": None,
    "exact": None,
    "narrow": "narrow",
    "broad": "broad",
}


@dataclass(frozen=True, slots=True)
class LocalRow:
    """Searches of qdrant-client's local mode in memory."""

    points: int
    filter: FilterName | None
    milliseconds: list[float]
    recall: float

    @property
    def p50_ms(self) -> float:
        """The median."""
        return statistics.median(self.milliseconds)


@dataclass(frozen=True, slots=True)
class Size:
    """All that was measured on a collection of one size. Each round of `rows` met the same machine."""

    points: int
    ingests: list[Ingest]
    before: Row | None  # before the index; None if there is none at this size
    indexing: Indexing | None
    rows: list[Row]
    local_ingest: Ingest | None  # in memory
    local_rows: list[LocalRow]


def measure_size(rig: SearchRig, points: int) -> Size:
    """Loads, waits for the index under load, then goes round: the service and local mode in turns."""
    large = points == LARGE
    limit_s = LARGE_LIMIT_S if large else LIMIT_S
    rig.say(f"{points:,} points: the exact answers")
    truth = nearest(corpus.queries(QUERIES), corpus.blocks(points))
    name = f"bench-{points}"
    rounds = 1 if large else ROUNDS
    ingests = [_ingest(rig, name, points, limit_s, keep=i == rounds - 1) for i in range(rounds)]
    before = indexing = None
    if points >= INDEX_FROM:
        before = rig.load(name, points, "before the index", "vector", 1, 1.2, truth[None], warm_s=0.2)
        indexing = _indexing(rig, name, points, limit_s)
    local_ingest = None if large else rig.run("local", local.load_memory, points)
    rows: list[Row] = []
    local_rows: list[LocalRow] = []
    for number in range(ROUNDS):
        rig.say(f"{points:,} points: round {number + 1} of {ROUNDS}")
        rows += _round(rig, name, points, truth)
        if not large:
            local_rows += _local_round(rig, points, number, truth)
    return Size(points, ingests, before, indexing, rows, local_ingest, local_rows)


def _ingest(rig: SearchRig, name: str, points: int, limit_s: float, *, keep: bool) -> Ingest:
    ingest = rig.submit("client", load_points, rig.service.address, name, points).result(limit_s)
    rig.say(f"{points:,} points loaded: {ingest.per_s:,.0f}/s")
    if not keep:
        with Client(rig.service.address, timeout=120) as client:
            client.delete_collection(name)
    return ingest


def _indexing(rig: SearchRig, name: str, points: int, limit_s: float) -> Indexing:
    metrics = rig.service.metrics_address()
    work = rig.submit("client", watch_indexing, rig.service.address, metrics, name, points, limit_s)
    found = work.result(limit_s + 60)
    rig.say(
        f"{points:,} points indexed after {found.seconds:.0f} s; meanwhile {found.searches.ok_per_s:.0f} "
        f"searches/s, p50 {found.searches.p50_ms:.1f} ms, {found.writes} writes, longest stall "
        f"{found.max_stall_ms:.0f} ms"
    )
    return found


def _round(rig: SearchRig, name: str, points: int, truth: Truth) -> list[Row]:
    state = "indexed" if points >= INDEX_FROM else "too small for an index"
    loads: list[tuple[Kind, int]] = [(kind, 1) for kind in _TRUTH_OF]
    loads.append(("vector", CLIENTS))
    return [
        rig.load(name, points, state, kind, clients, SERVICE_S, truth[_TRUTH_OF[kind]])
        for kind, clients in loads
    ]


def _local_round(rig: SearchRig, points: int, number: int, truth: Truth) -> list[LocalRow]:
    rows = []
    counts: tuple[tuple[FilterName | None, int], ...] = (
        (None, LOCAL_SEARCHES),
        ("narrow", LOCAL_FILTERED),
        ("broad", LOCAL_FILTERED),
    )
    for filter, count in counts:
        asked = rig.run("local", local.search, points, filter, range(number * count, (number + 1) * count))
        row = LocalRow(points, filter, asked.milliseconds, recall(asked.found, truth[filter]))
        rig.say(f"{points:,} points, local mode, {filter or 'vector'}: p50 {row.p50_ms:.0f} ms")
        rows.append(row)
    return rows


def measure_texts(rig: SearchRig, points: int) -> list[Row]:
    """Text in, hits out: one client and 16, in turns."""
    name = f"bench-{points}"
    rows = [
        rig.load(name, points, "indexed", "text", clients, 2.0, None)
        for _ in range(ROUNDS)
        for clients in (1, CLIENTS)
    ]
    numbers = [number for row in rows for number in list(row.found)[:TEXTS_CHECKED]]
    with EncoderClient(rig.encoder.address) as encoder:
        vectors = encoder.encode_texts([words(number) for number in numbers])
    truth = dict(zip(numbers, nearest(vectors, corpus.blocks(points))[None], strict=True))
    return [
        dataclasses.replace(row, recall=recall({n: row.found[n] for n in row.found if n in truth}, truth))
        for row in rows
    ]


def measure_disk(rig: SearchRig) -> list[Ingest]:
    """Local mode writing to disk."""
    ingests = []
    for number in range(ROUNDS):
        folder = rig.data / f"local-{number}"
        ingests.append(rig.run("local", local.load_disk, folder, LOCAL_DISK_POINTS))
        rig.say(f"local mode on disk: {ingests[-1].per_s:,.0f}/s")
    return ingests
