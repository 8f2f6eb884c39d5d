"""The processes of a search benchmark, and the loads that are made on them."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tests.bench.bundles import CLIP
from tests.bench.machine import busy_seconds
from tests.bench.rig import Rig
from tests.bench.search.calls import Kind, Load, run_load
from tests.bench.search.exact import Numbers, recall
from tests.bench.summary import Summary
from tests.bench.tables import number
from tests.processes import ServiceProcess

WARM_S = 0.5


@dataclass(frozen=True, slots=True)
class Row:
    """One load on one collection. `cores` are those kept busy, on average, over the load."""

    points: int
    state: str  # "before the index", "indexed", or "too small for an index"
    kind: Kind
    clients: int
    summary: Summary
    recall: float | None  # recall@10 against exact; None if it is not known yet
    found: dict[int, list[int]]
    service_cores: float
    client_cores: float
    other_cores: float  # of processes that are not part of the benchmark


class SearchRig(Rig):
    """An encoder (CLIP ViT-B/32, int8) and a search service over Qdrant Edge, loaded by a client."""

    def __init__(self, folder: Path, console: Console) -> None:
        super().__init__(folder, console)
        self.data = folder / "search-data"
        shutil.rmtree(self.data, ignore_errors=True)
        self._stack.callback(shutil.rmtree, self.data, ignore_errors=True)
        self._next_call = 0
        self.encoder: ServiceProcess
        self.service: ServiceProcess

    def start(self) -> None:
        """Starts both services; they live as long as the rig."""
        self.encoder = self.start_service(
            "encoder",
            "encoder",
            ENCODER_MODEL=str(CLIP),
            ENCODER_IMAGE_PRECISION="int8",
            ENCODER_TEXT_PRECISION="int8",
        )
        self.service = self.start_service(
            "search",
            "search",
            SEARCH_ENCODER=self.encoder.address,
            SEARCH_DATA_DIR=str(self.data / "collections"),
            SEARCH_METRICS_PORT="0",
        )

    def load(
        self,
        collection: str,
        points: int,
        state: str,
        kind: Kind,
        clients: int,
        seconds: float,
        truth: Numbers | None,
        *,
        warm_s: float = WARM_S,
    ) -> Row:
        """Loads the service from the client's process."""
        load = Load(self.service.address, collection, kind, clients, self._next_call, warm_s, seconds)
        wall, cpu, busy = time.perf_counter(), self._cpu_seconds(), busy_seconds()
        loaded = self.run("client", run_load, load)
        wall = time.perf_counter() - wall
        cores, all_cores = (self._cpu_seconds() - cpu) / wall, (busy_seconds() - busy) / wall
        self._next_call += loaded.summary.sent
        row = Row(
            points=points,
            state=state,
            kind=kind,
            clients=clients,
            summary=loaded.summary,
            recall=None if truth is None else recall(loaded.found, truth),
            found=loaded.found,
            service_cores=cores,
            client_cores=loaded.client_cores,
            other_cores=max(0.0, all_cores - cores - loaded.client_cores),
        )
        self.say(_line(row))
        return row

    def _cpu_seconds(self) -> float:
        return self.service.cpu_seconds() + self.encoder.cpu_seconds()


def _line(row: Row) -> str:
    summary = row.summary
    errors = "".join(f", {count} {name}" for name, count in summary.errors.items())
    return (
        f"{row.points:,} {row.state}, {row.kind}, {row.clients} clients: p50 {number(summary.p50_ms, 2)} ms, "
        f"{summary.ok_per_s:.0f}/s, recall {number(row.recall, 3)}{errors}"
    )
