"""The encoder's processes, and the loads that are made on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tests.bench.encoder.calls import Closed, Kind, Load, Open, run_load
from tests.bench.results import number
from tests.bench.rig import Rig
from tests.bench.summary import Summary
from tests.processes import ServiceProcess

NO_DEADLINE_S = 120.0
WARM_S = 0.7


@dataclass(frozen=True, slots=True)
class Row:
    """One load on one service."""

    service: str
    kind: Kind
    clients: int | None  # closed loop
    rate: float | None  # open loop, calls a second
    summary: Summary


class EncoderRig(Rig):
    """A rig that knows its encoders by name. `corpus` is the folder of the images."""

    def __init__(self, folder: Path, corpus: Path, console: Console) -> None:
        super().__init__(folder, console)
        self.corpus = corpus
        self.services: dict[str, ServiceProcess] = {}
        self._next_call = 0

    def start(self, name: str, **environment: str) -> None:
        """Starts an encoder that lives as long as the rig."""
        self.services[name] = self.start_service("encoder", name, **environment)

    def load(
        self,
        name: str,
        kind: Kind,
        pattern: Closed | Open,
        seconds: float,
        *,
        warm_s: float = WARM_S,
        deadline_s: float = NO_DEADLINE_S,
    ) -> Row:
        """Loads a service from the client's process, with calls that no load before has made."""
        address = self.services[name].address
        load = Load(address, self.corpus, kind, pattern, self._next_call, deadline_s, warm_s, seconds)
        summary = self.run("client", run_load, load)
        self._next_call += summary.sent
        clients = pattern.clients if isinstance(pattern, Closed) else None
        rate = pattern.rate if isinstance(pattern, Open) else None
        offered = f"{clients} clients" if clients else f"{summary.offered_per_s:.0f}/s offered"
        errors = "".join(f", {count} {name}" for name, count in summary.errors.items())
        self.say(
            f"{name}, {kind}, {offered}: {summary.in_time_per_s:.1f}/s, "
            f"p50 {number(summary.p50_ms, 0)} ms, p99 {number(summary.p99_ms, 0)} ms{errors}"
        )
        return Row(name, kind, clients, rate, summary)
