"""What searches of compressed vectors find and take, with nothing set but the compression."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from clipsearch import Client
from clipsearch.client.inputs import Quantization
from tests.bench.search import corpus
from tests.bench.search.calls import QUERIES
from tests.bench.search.exact import nearest
from tests.bench.search.loading import load_points
from tests.bench.search.rig import Row, SearchRig, p50_ms

POINTS = 20_000  # as many as are worth an index, without which nothing is compressed
KINDS: tuple[Quantization, ...] = ("none", "scalar", "turbo", "product", "binary")
ROUNDS = 3
_SECONDS = 1.5
_INDEXED = 0.999
_INDEX_S = 400.0
_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Compressed:
    """The rounds of one kind, one client; `candidates` is the collection's default."""

    quantization: Quantization
    candidates: int
    rows: Sequence[Row]

    @property
    def recall(self) -> float:
        """recall@10, the mean of the rounds."""
        return statistics.mean(row.recall for row in self.rows if row.recall is not None)

    @property
    def p50_ms(self) -> float | None:
        """Milliseconds, the median of the rounds."""
        return p50_ms(self.rows)


def measure_compressed(rig: SearchRig) -> list[Compressed]:
    """A collection a kind, each with its index, asked in turns: every round meets the same machine."""
    truth = nearest(corpus.queries(QUERIES), corpus.blocks(POINTS))["vector"]
    rescored = {kind: _make(rig, kind) for kind in KINDS}
    rows: dict[Quantization, list[Row]] = {kind: [] for kind in KINDS}
    for _ in range(ROUNDS):
        for kind in KINDS:
            rows[kind].append(rig.load(_name(kind), "vector", 1, _SECONDS, truth))
    with Client(rig.service.address, timeout=120) as client:
        for kind in KINDS:
            client.delete_collection(_name(kind))
    return [Compressed(kind, rescored[kind], rows[kind]) for kind in KINDS]


def _make(rig: SearchRig, kind: Quantization) -> int:
    """Fills a collection and waits for its index; how many points its searches rescore."""
    work = rig.submit("client", load_points, rig.service.address, _name(kind), POINTS, kind)
    work.result(_INDEX_S)
    end = time.monotonic() + _INDEX_S
    with Client(rig.service.address, timeout=120) as client:
        while (found := client.get_collection(_name(kind))).indexed_share < _INDEXED:
            if time.monotonic() > end:
                raise TimeoutError(f"the index of {_name(kind)} was not built in {_INDEX_S:.0f} s")
            time.sleep(_POLL_S)
    rig.say(f"{POINTS:,} points, {kind}: indexed, {found.default_candidates} points are rescored")
    return found.default_candidates


def _name(kind: Quantization) -> str:
    return f"compressed-{kind}"
