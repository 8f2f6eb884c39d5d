"""Everything that one run measured, and the figures that it comes down to."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from encoder_service.bundle import Tower
from tests.bench.bounds import DISTURBED_CORES
from tests.bench.peers.calls import Pattern
from tests.bench.summary import Summary

OURS, PEERS = ("clipsearch int8", "clipsearch fp32"), ("infinity-emb float32", "infinity-emb int8")
ONE, MANY, BULK = Pattern(1, 1), Pattern(16, 1), Pattern(2, 8)
PATTERNS = (ONE, MANY, BULK)


@dataclass(frozen=True, slots=True)
class Row:
    """One load on one server, once a round."""

    server: str
    tower: Tower
    pattern: Pattern
    summaries: Sequence[Summary]
    client_cores: float

    @property
    def items_per_s(self) -> float:
        """Items a second: the median of the rounds."""
        return self.pattern.items * statistics.median(s.ok_per_s for s in self.summaries)

    @property
    def p50_ms(self) -> float | None:
        """Latency of a call: the median of the rounds' medians; None if none was answered."""
        return _median([summary.p50_ms for summary in self.summaries])

    @property
    def p99_ms(self) -> float | None:
        """The median of the rounds' 99th percentiles."""
        return _median([summary.p99_ms for summary in self.summaries])

    @property
    def errors(self) -> int:
        """Calls that failed, over all rounds."""
        return sum(sum(summary.errors.values()) for summary in self.summaries)


@dataclass(frozen=True, slots=True)
class Run:
    """`cosines`: the smallest between our vectors and the peer's float32 ones, by server and tower."""

    machine: Mapping[str, object]
    peer: Mapping[str, str]
    cosines: Mapping[str, Mapping[Tower, float]]
    rows: Sequence[Row]
    other_cores: float = 0.0  # known once all processes of the run have ended

    @property
    def disturbed(self) -> bool:
        """Whether other processes took so much that the figures are no evidence."""
        return self.other_cores > DISTURBED_CORES

    def best(self, servers: Sequence[str], tower: Tower, pattern: Pattern) -> Row:
        """The server that does most items a second."""
        rows = [r for r in self.rows if r.server in servers and (r.tower, r.pattern) == (tower, pattern)]
        return max(rows, key=lambda row: row.items_per_s)

    def ratio(self, ours: Sequence[str], tower: Tower, pattern: Pattern) -> float:
        """Our items a second over those of the peer's faster precision."""
        peer = self.best(PEERS, tower, pattern)
        return self.best(ours, tower, pattern).items_per_s / peer.items_per_s

    def figures(self) -> dict[str, float]:
        """Ratios by tower and load; above 1 we are faster."""
        loads = {"one_client": ONE, "16_clients": MANY, "bulk": BULK}
        towers: tuple[Tower, ...] = ("image", "text")
        return {
            f"{tower}_vs_infinity_{name}{suffix}": self.ratio(servers, tower, pattern)
            for tower in towers
            for name, pattern in loads.items()
            for suffix, servers in (("", OURS), ("_fp32", OURS[1:]))
        }

    def document(self) -> dict[str, Any]:
        """What peers.json holds."""
        return {
            **{name: round(value, 2) for name, value in self.figures().items()},
            "disturbed": self.disturbed,
            "other_cores": self.other_cores,
            "machine": dict(self.machine),
            "peer": dict(self.peer),
            "cosine_to_infinity_float32": {name: dict(values) for name, values in self.cosines.items()},
            "rows": [
                {
                    "items_per_s": row.items_per_s,
                    "p50_ms": row.p50_ms,
                    "p99_ms": row.p99_ms,
                    **dataclasses.asdict(row),
                }
                for row in self.rows
            ],
        }


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
