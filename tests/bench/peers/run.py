"""Everything that one run measured, and the figures that it comes down to."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from encoder_service.bundle import Tower
from tests.bench.peers.calls import Pattern
from tests.bench.results import Bound, Results
from tests.bench.summary import Summary, ratio

OURS, PEERS = ("clipsearch int8", "clipsearch fp32"), ("infinity-emb float32", "infinity-emb int8")
ONE, MANY, BULK = Pattern(1, 1), Pattern(16, 1), Pattern(2, 8)
PATTERNS = (ONE, MANY, BULK)
BOUNDS = {"images_16_clients_ratio": Bound(">=", 2.2), "texts_16_clients_ratio": Bound(">=", 3)}


@dataclass(frozen=True, slots=True)
class Row:
    """One load on one server, once a round."""

    server: str
    tower: Tower
    pattern: Pattern
    summaries: Sequence[Summary]

    @property
    def items_per_s(self) -> float:
        """Items a second: the median of the rounds."""
        return self.pattern.items * statistics.median(s.ok_per_s for s in self.summaries)


@dataclass(frozen=True, kw_only=True)
class Run(Results):
    """`cosines`: the smallest between our vectors and the peer's float32 ones, by server and tower."""

    bounds = BOUNDS

    peer: Mapping[str, str]
    cosines: Mapping[str, Mapping[Tower, float]]
    rows: Sequence[Row]

    def best(self, servers: Sequence[str], tower: Tower, pattern: Pattern) -> float:
        """The most items a second that one of the servers does."""
        return max(
            row.items_per_s
            for row in self.rows
            if row.server in servers and (row.tower, row.pattern) == (tower, pattern)
        )

    def figures(self) -> dict[str, float | None]:
        """Items a second over those of the peer's faster precision; above 1 we are faster."""
        loads = {"one_client": ONE, "16_clients": MANY, "bulk": BULK}
        towers: tuple[Tower, ...] = ("image", "text")
        return {
            f"{tower}s_{name}{suffix}_ratio": ratio(
                self.best(servers, tower, pattern), self.best(PEERS, tower, pattern)
            )
            for tower in towers
            for name, pattern in loads.items()
            for suffix, servers in (("", OURS), ("_fp32", OURS[1:]))
        }
