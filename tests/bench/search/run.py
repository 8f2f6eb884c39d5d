"""Everything that one run measured, and the figures that it comes down to."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench.bounds import DISTURBED_CORES, Bound, head
from tests.bench.search.calls import Kind
from tests.bench.search.compressed import KINDS, Compressed
from tests.bench.search.corpus import FilterName
from tests.bench.search.loading import Ingest
from tests.bench.search.plan import CLIENTS, LARGE, Size
from tests.bench.search.rig import Row

SMALL, MIDDLE = 10_000, 100_000

BOUNDS = {
    "search_p50_ms_100k": Bound("<=", 5),
    "filtered_p50_ms_100k": Bound("<=", 8),
    "recall_at_10_100k": Bound(">=", 0.98),
    "ingest_vectors_per_s": Bound(">=", 8000),
    "vs_local_search": Bound(">=", 20),
    "vs_local_filtered": Bound(">=", 100),
    "max_event_loop_stall_ms_during_index": Bound("<=", 100),
    "recall_at_10_20k_scalar": Bound(">=", 0.99),
    "recall_at_10_20k_turbo": Bound(">=", 0.99),
    "recall_at_10_20k_product": Bound(">=", 0.96),
    "recall_at_10_20k_binary": Bound(">=", 0.90),
    **{f"p50_20k_{kind}_vs_none": Bound("<=", 1.3) for kind in KINDS if kind != "none"},
}

MEANING = {
    "search_p50_ms_100k": "vector in, ten hits with payload out, over gRPC, one client; median of 3 rounds",
    "default_p50_ms_100k": "the same without a target: what everybody asks",
    "filtered_p50_ms_100k": "the same with a filter on two fields that 2.5 % of the points pass",
    "recall_at_10_100k": "of the same searches against exact ones by numpy, default settings; mean",
    "ingest_vectors_per_s": "100,000 points through the service, durable, public client; median of 3 loads",
    "text_query_p50_ms_100k": (
        "words in, hits out, one client; encoder CLIP ViT-B/32 int8 with random weights, whose texts lie far "
        "from all points, so that the index finds fewer of their nearest"
    ),
    "text_queries_per_s_100k": "the same, 16 clients; no text is asked twice",
    "vs_local_search": "p50 of qdrant-client's local mode in memory / search_p50_ms_100k",
    "vs_local_filtered": "the same for filtered_p50_ms_100k",
    "vs_local_ingest_on_disk": "ingest_vectors_per_s / local mode writing to disk",
    "max_event_loop_stall_ms_during_index": (
        "the longest that the serving process's event loop was late from a minute before the index of the "
        "100,000 was begun until it was in use, with searches and writes going on"
    ),
    **{f"recall_at_10_20k_{kind}": f"20,000 points, quantization {kind}, default settings" for kind in KINDS},
    **{f"p50_ms_20k_{kind}": "of the same searches, one client; median of 3 rounds" for kind in KINDS},
    **{f"p50_20k_{kind}_vs_none": f"p50_ms_20k_{kind} / p50_ms_20k_none" for kind in KINDS if kind != "none"},
    "search_growth_10k_to_100k": "search_p50_ms_100k / the same at 10,000, where search is exact",
    "filtered_growth_10k_to_100k": "the same for filtered_p50_ms_100k",
    "search_p50_ms_1m": "as at 100,000; only with FULL=1",
    "filtered_p50_ms_1m": "as at 100,000; only with FULL=1",
    "recall_at_10_1m": "as at 100,000; only with FULL=1",
    "other_cores": "cores that processes outside the benchmark kept busy, mean over the run",
}


@dataclass(frozen=True, slots=True)
class Run:
    """The measurements of a run."""

    machine: Mapping[str, object]
    corpus: Mapping[str, object]
    sizes: Sequence[Size]
    texts: Sequence[Row]
    local_disk: Sequence[Ingest]
    compressed: Sequence[Compressed] = ()
    other_cores: float = 0.0  # known once all processes of the run have ended

    @property
    def disturbed(self) -> bool:
        """Whether other processes took so much that the figures are no evidence."""
        return self.other_cores > DISTURBED_CORES

    def met(self, name: str) -> bool | None:
        """Whether a figure keeps its bound; None if the machine was disturbed."""
        return None if self.disturbed else BOUNDS[name].holds(self.figures()[name])

    def figures(self) -> dict[str, float | None]:
        """The keys of MEANING; None where there is no such figure."""
        search, filtered = self.p50(MIDDLE, "vector"), self.p50(MIDDLE, "narrow")
        middle = next(size for size in self.sizes if size.points == MIDDLE)
        ingest = statistics.median(load.per_s for load in middle.ingests)
        disk = statistics.median(load.per_s for load in self.local_disk)
        return {
            "search_p50_ms_100k": search,
            "default_p50_ms_100k": self.p50(MIDDLE, "both sides"),
            "filtered_p50_ms_100k": filtered,
            "recall_at_10_100k": self.recall(MIDDLE, "vector"),
            "ingest_vectors_per_s": ingest,
            "text_query_p50_ms_100k": _median(row.summary.p50_ms for row in self._texts(1)),
            "text_queries_per_s_100k": _median(row.summary.ok_per_s for row in self._texts(CLIENTS)),
            "vs_local_search": _ratio(self.local_p50(MIDDLE, None), search),
            "vs_local_filtered": _ratio(self.local_p50(MIDDLE, "narrow"), filtered),
            "vs_local_ingest_on_disk": ingest / disk,
            "max_event_loop_stall_ms_during_index": middle.indexing.max_stall_ms if middle.indexing else None,
            **self._compressed(),
            "search_growth_10k_to_100k": _ratio(search, self.p50(SMALL, "vector")),
            "filtered_growth_10k_to_100k": _ratio(filtered, self.p50(SMALL, "narrow")),
            "search_p50_ms_1m": self.p50(LARGE, "vector"),
            "filtered_p50_ms_1m": self.p50(LARGE, "narrow"),
            "recall_at_10_1m": self.recall(LARGE, "vector"),
            "other_cores": self.other_cores,
        }

    def _compressed(self) -> dict[str, float | None]:
        """By kind: recall, p50, and how p50 stands to that of vectors as they are."""
        there = {one.quantization: one for one in self.compressed}
        p50 = {kind: there[kind].p50_ms if kind in there else None for kind in KINDS}
        return {
            **{f"recall_at_10_20k_{kind}": there[kind].recall if kind in there else None for kind in KINDS},
            **{f"p50_ms_20k_{kind}": p50[kind] for kind in KINDS},
            **{f"p50_20k_{kind}_vs_none": _ratio(p50[kind], p50["none"]) for kind in KINDS if kind != "none"},
        }

    def document(self) -> dict[str, Any]:
        """What search.json holds: the figures first, then all that they were made from."""
        return {
            **head(self.figures(), BOUNDS, self.met),
            "disturbed": self.disturbed,
            "meaning": MEANING,
            "machine": dict(self.machine),
            "corpus": dict(self.corpus),
            "sizes": [_without_hits(dataclasses.asdict(size)) for size in self.sizes],
            "texts": _without_hits([dataclasses.asdict(row) for row in self.texts]),
            "compressed": _without_hits([dataclasses.asdict(one) for one in self.compressed]),
            "local_on_disk": [dataclasses.asdict(load) for load in self.local_disk],
        }

    def size(self, points: int) -> Size | None:
        """What was measured at this size, if it was."""
        return next((size for size in self.sizes if size.points == points), None)

    def rows(self, points: int, kind: Kind, clients: int = 1) -> list[Row]:
        """The rounds of one load."""
        size = self.size(points)
        return [row for row in size.rows if (row.kind, row.clients) == (kind, clients)] if size else []

    def p50(self, points: int, kind: Kind) -> float | None:
        """Milliseconds, one client: the median of the rounds."""
        return _median(row.summary.p50_ms for row in self.rows(points, kind))

    def recall(self, points: int, kind: Kind) -> float | None:
        """The mean over the rounds."""
        recalls = [row.recall for row in self.rows(points, kind) if row.recall is not None]
        return statistics.mean(recalls) if recalls else None

    def local_p50(self, points: int, filter: FilterName | None) -> float | None:
        """Milliseconds of local mode: the median of all its searches."""
        size = self.size(points)
        rows = [row for row in size.local_rows if row.filter == filter] if size else []
        return _median(latency for row in rows for latency in row.milliseconds)

    def _texts(self, clients: int) -> list[Row]:
        return [row for row in self.texts if row.clients == clients]


def _median(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


def _without_hits(value: Any) -> Any:
    """The same without what was found: 400 lists of hits a row."""
    if isinstance(value, dict):
        return {key: _without_hits(inner) for key, inner in value.items() if key not in ("found", "timeline")}
    return [_without_hits(inner) for inner in value] if isinstance(value, list) else value
