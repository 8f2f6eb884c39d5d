"""An evaluation as JSON, for scripts and for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clipsearch.eval.measures import Interval
from clipsearch.eval.run import Asking, Row


def document(
    rows: Sequence[Row], asking: Asking, source: str, bounds: Mapping[str, float], collection: str = ""
) -> dict[str, Any]:
    """Everything that was measured. `source`: where the queries are from.

    `bounds` are what each measure must be at least: in all rows, or in those of one collection.
    """
    judged = [row for row in rows if collection in ("", row.collection.name)]
    below = [missed for row in judged for missed in row.below(bounds)]
    return {
        "queries": source,
        "target": asking.target,
        "fail_below": dict(bounds),
        "below": below,
        "rows": [_row(row) for row in rows],
    }


def _row(row: Row) -> dict[str, Any]:
    there = row.collection
    return {
        "name": row.name,
        "collection": there.name,
        "model": there.model,
        "fingerprint": there.fingerprint,
        "precision": row.precision or None,
        "quantization": there.quantization,
        "search": row.search,
        "exact": row.exact,
        "ef": row.ef,
        "points": there.points,
        "indexed_share": round(there.indexed_share, 4),
        "queries": row.queries,
        "measures": _intervals(row.measures),
        "differences": _intervals(row.differences),
        "same": None if row.same is None else round(row.same, 6),
        "p50_ms": round(row.p50_ms, 3),
        "memory_bytes": row.memory_bytes,
        "bytes_a_point": round(row.bytes_a_point, 1),
    }


def _intervals(measures: Mapping[str, Interval]) -> dict[str, dict[str, float]]:
    return {
        name: {"mean": round(one.mean, 6), "low": round(one.low, 6), "high": round(one.high, 6)}
        for name, one in measures.items()
    }
