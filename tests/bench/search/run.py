"""Everything that one run measured, and the figures that it comes down to."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.bench.results import Bound, Results
from tests.bench.search.compressed import KINDS, Compressed
from tests.bench.search.plan import Large, Rounds
from tests.bench.search.rig import Row, p50_ms
from tests.bench.summary import median, ratio

_COMPRESSIONS = [kind for kind in KINDS if kind != "none"]

BOUNDS = {
    "search_p50_ms_100k": Bound("<=", 5),
    "filtered_p50_ms_100k": Bound("<=", 8),
    "recall_at_10_100k": Bound(">=", 0.98),
    "default_recall_at_10_100k": Bound(">=", 0.98),
    "ingest_vectors_per_s": Bound(">=", 8000),
    "vs_local_search": Bound(">=", 20),
    "vs_local_filtered": Bound(">=", 100),
    "max_event_loop_stall_ms_during_index": Bound("<=", 100),
    "recall_at_10_20k_scalar": Bound(">=", 0.99),
    "recall_at_10_20k_turbo": Bound(">=", 0.99),
    "recall_at_10_20k_product": Bound(">=", 0.96),
    "recall_at_10_20k_binary": Bound(">=", 0.90),
    **{f"p50_20k_{kind}_vs_none": Bound("<=", 1.3) for kind in _COMPRESSIONS},
}

MEANING = {
    "search_p50_ms_100k": "vector in, ten hits with payload out, over gRPC, one client; median of 3 rounds",
    "default_p50_ms_100k": "the same without a target: what everybody asks",
    "filtered_p50_ms_100k": "the same with a filter on two fields that 2.5 % of the points pass",
    "recall_at_10_100k": "of the same searches against exact ones by numpy, default settings; mean",
    "default_recall_at_10_100k": "the same without a target",
    "ingest_vectors_per_s": "100,000 points through the service, durable, public client; median of 3 loads",
    "text_query_p50_ms_100k": "words in, hits out, one client; encoder CLIP ViT-B/32 int8, random weights",
    "text_queries_per_s_100k": "the same, 16 clients; no text is asked twice",
    "local_search_p50_ms": "qdrant-client's local mode in memory, the same vectors",
    "local_filtered_p50_ms": "the same with the filter",
    "local_ingest_per_s": "points a second of local mode writing to disk",
    "vs_local_search": "local_search_p50_ms / search_p50_ms_100k",
    "vs_local_filtered": "local_filtered_p50_ms / filtered_p50_ms_100k",
    "vs_local_ingest_on_disk": "ingest_vectors_per_s / local_ingest_per_s",
    "index_s": "seconds until the index of the 100,000 was in use, with searches and writes going on",
    "search_p50_ms_during_index": "of those searches",
    "max_event_loop_stall_ms_during_index": (
        "the longest that the serving process's event loop was late from a minute before the index of the "
        "100,000 was begun until it was in use, with searches and writes going on"
    ),
    **{f"recall_at_10_20k_{kind}": f"20,000 points, quantization {kind}, default settings" for kind in KINDS},
    **{f"p50_ms_20k_{kind}": "of the same searches, one client; median of 3 rounds" for kind in KINDS},
    **{f"p50_20k_{kind}_vs_none": f"p50_ms_20k_{kind} / p50_ms_20k_none" for kind in _COMPRESSIONS},
    "search_growth_10k_to_100k": "search_p50_ms_100k / the same at 10,000, where search is exact",
    "filtered_growth_10k_to_100k": "the same for filtered_p50_ms_100k",
    "other_cores": "cores that processes outside the benchmark kept busy, mean over the run",
}


@dataclass(frozen=True, kw_only=True)
class Run(Results):
    """The measurements of a run."""

    bounds = BOUNDS
    meaning = MEANING

    corpus: Mapping[str, object]
    local_disk: Sequence[float]
    small: Rounds
    large: Large
    compressed: Sequence[Compressed]

    def figures(self) -> dict[str, float | None]:
        """The keys of MEANING; None where there is no such figure."""
        large = self.large
        search, filtered = p50_ms(large.rounds.vector), p50_ms(large.rounds.filtered)
        ingest, disk = statistics.median(large.ingest_per_s), statistics.median(self.local_disk)
        local, local_filtered = map(statistics.median, (large.local_ms, large.local_filtered_ms))
        return {
            "search_p50_ms_100k": search,
            "default_p50_ms_100k": p50_ms(large.rounds.default),
            "filtered_p50_ms_100k": filtered,
            "recall_at_10_100k": _recall(large.rounds.vector),
            "default_recall_at_10_100k": _recall(large.rounds.default),
            "ingest_vectors_per_s": ingest,
            "text_query_p50_ms_100k": p50_ms(large.text),
            "text_queries_per_s_100k": median(row.summary.ok_per_s for row in large.texts),
            "local_search_p50_ms": local,
            "local_filtered_p50_ms": local_filtered,
            "local_ingest_per_s": disk,
            "vs_local_search": ratio(local, search),
            "vs_local_filtered": ratio(local_filtered, filtered),
            "vs_local_ingest_on_disk": ingest / disk,
            "index_s": large.indexing.seconds,
            "search_p50_ms_during_index": large.indexing.searches.p50_ms,
            "max_event_loop_stall_ms_during_index": large.indexing.max_stall_ms,
            **self._compressed(),
            "search_growth_10k_to_100k": ratio(search, p50_ms(self.small.vector)),
            "filtered_growth_10k_to_100k": ratio(filtered, p50_ms(self.small.filtered)),
            "other_cores": self.other_cores,
        }

    def _compressed(self) -> dict[str, float | None]:
        """By kind: recall, p50, and how p50 stands to that of vectors as they are."""
        there = {one.quantization: one for one in self.compressed}
        p50 = {kind: there[kind].p50_ms for kind in KINDS}
        return {
            **{f"recall_at_10_20k_{kind}": there[kind].recall for kind in KINDS},
            **{f"p50_ms_20k_{kind}": p50[kind] for kind in KINDS},
            **{f"p50_20k_{kind}_vs_none": ratio(p50[kind], p50["none"]) for kind in _COMPRESSIONS},
        }


def _recall(rows: Sequence[Row]) -> float:
    return statistics.mean(row.recall or 0.0 for row in rows)
