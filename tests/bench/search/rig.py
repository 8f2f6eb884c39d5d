"""The processes of a search benchmark, and the loads that are made on them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tests.bench.bundles import CLIP
from tests.bench.results import number
from tests.bench.rig import Rig
from tests.bench.search.calls import Kind, Load, run_load
from tests.bench.search.exact import Numbers, recall
from tests.bench.summary import Summary, median
from tests.processes import ServiceProcess

WARM_S = 0.5


@dataclass(frozen=True, slots=True)
class Row:
    """One load on one collection."""

    collection: str
    kind: Kind
    clients: int
    summary: Summary
    recall: float | None  # recall@10 against exact; None if that is not known


class SearchRig(Rig):
    """An encoder (CLIP ViT-B/32, int8) and a search service over Qdrant Edge, loaded by a client."""

    def __init__(self, folder: Path, console: Console) -> None:
        super().__init__(folder, console)
        self.data = folder / "search-data"
        shutil.rmtree(self.data, ignore_errors=True)
        self._stack.callback(shutil.rmtree, self.data, ignore_errors=True)
        self._next_call = 0
        self.service: ServiceProcess

    def start(self) -> None:
        """Starts both services; they live as long as the rig."""
        encoder = self.start_service(
            "encoder",
            "encoder",
            ENCODER_MODEL=str(CLIP),
            ENCODER_IMAGE_PRECISION="int8",
            ENCODER_TEXT_PRECISION="int8",
        )
        self.service = self.start_service(
            "search",
            "search",
            SEARCH_ENCODER=encoder.address,
            SEARCH_DATA_DIR=str(self.data / "collections"),
            SEARCH_METRICS_PORT="0",
        )

    def load(
        self, collection: str, kind: Kind, clients: int, seconds: float, truth: Numbers | None = None
    ) -> Row:
        """Loads the service from the client's process."""
        load = Load(self.service.address, collection, kind, clients, self._next_call, WARM_S, seconds)
        summary, found = self.run("client", run_load, load)
        self._next_call += summary.sent
        row = Row(collection, kind, clients, summary, None if truth is None else recall(found, truth))
        errors = "".join(f", {count} {name}" for name, count in summary.errors.items())
        self.say(
            f"{collection}, {kind}, {clients} clients: p50 {number(summary.p50_ms, 2)} ms, "
            f"{summary.ok_per_s:.0f}/s, recall {number(row.recall, 3)}{errors}"
        )
        return row


def p50_ms(rows: Sequence[Row]) -> float | None:
    """The median of the rounds' medians."""
    return median(row.summary.p50_ms for row in rows)
