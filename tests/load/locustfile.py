"""The load as Locust runs it. A Locust user is one call a second of offered load.

Each user is a Poisson process of its own: it sends at its moments, whatever became of the calls before
(an open loop), so the number of users is the offered rate, and Locust's workers share it out. Settings
come from LOAD_* variables; `python -m tests.load` sets them.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, ClassVar

import gevent
import grpc.experimental.gevent
import locust.runners
import numpy as np
from locust import LoadTestShape, User, events, task
from locust.env import Environment
from locust.runners import LocalRunner, MasterRunner, WorkerRunner

# After Locust's patching of the standard library and before any channel.
grpc.experimental.gevent.init_gevent()

from tests.load import pictures, settings  # noqa: E402
from tests.load.scenarios import Scenario, scenarios  # noqa: E402
from tests.load.sender import Sender, now  # noqa: E402
from tests.load.steps import Climb  # noqa: E402

locust.runners.WORKER_REPORT_INTERVAL = 1.0  # a rate is judged by what workers have reported

# Users started or stopped a second: all of them, since a step is to begin at once.
_AT_ONCE = 100_000

_settings, _ = settings.read([])
_scenarios = scenarios(_settings.collection, _settings.points, pictures.base_pictures())
_sender: Sender | None = None


def _tell(scenario: Scenario, latency_ms: float, error: Exception | None) -> None:
    events.request.fire(
        request_type="grpc",
        name=scenario.title,
        response_time=latency_ms,
        response_length=0,
        exception=error,
        context={},
    )


def _open_sender(runner: Any) -> Sender:
    # No number twice, on any worker or in the run before: the encoder remembers texts.
    first = (int(time.time()) * 1009 + getattr(runner, "worker_index", 0) * 1_000_003) % 2**23
    return Sender(_settings.search, _settings.deadline_s, _tell, first)


@events.init.add_listener
def _connect(environment: Environment, **_: Any) -> None:
    global _sender
    runner = environment.runner
    _sender = sender = _open_sender(runner)
    if isinstance(runner, WorkerRunner):

        @environment.events.report_to_master.add_listener
        def attach(client_id: str, data: dict[str, Any]) -> None:
            data["rows"] = sender.take()

    if isinstance(runner, MasterRunner):

        @environment.events.worker_report.add_listener
        def collect(client_id: str, data: dict[str, Any]) -> None:
            sender.rows.extend(tuple(row) for row in data.pop("rows", []))

    if not isinstance(runner, LocalRunner | MasterRunner):
        return
    if environment.shape_class is not None:
        environment.shape_class.begin(sender, isinstance(runner, MasterRunner))

        @environment.events.quitting.add_listener
        def write(**_: Any) -> None:
            environment.shape_class.climb.recording().write(_settings.out / "recording.json")


class _Arrivals(User):
    abstract = True
    scenario: ClassVar[Scenario]

    @task
    def arrive(self) -> None:
        assert _sender is not None
        gaps = np.random.default_rng()
        due = now() + gaps.exponential()
        while True:
            gevent.sleep(max(0.0, due - now()))
            gevent.spawn(_sender.send, self.scenario, due)
            due += gaps.exponential()


class TextSearch(_Arrivals):
    """Words."""

    scenario = _scenarios["text"]


class PictureSearch(_Arrivals):
    """A 640x480 JPEG."""

    scenario = _scenarios["image"]


class MixedSearch(_Arrivals):
    """Words, images and stored points, all with filters."""

    scenario = _scenarios["mixed"]


class Ingest(_Arrivals):
    """Upserts of images."""

    scenario = _scenarios["ingest"]


_USERS: dict[str, type[User]] = {
    user.scenario.name: user for user in (TextSearch, PictureSearch, MixedSearch, Ingest)
}

if not os.environ.get("LOAD_BY_HAND"):  # with the web UI people set the rate themselves

    class Knee(LoadTestShape):
        """Climbs each scenario's ladder of rates, then half the knee and twice it."""

        climb: Climb

        def begin(self, sender: Sender, distributed: bool) -> None:
            """Once the runner is there."""
            self._users = _USERS
            pids = json.loads(os.environ.get("LOAD_PIDS", "{}"))
            if pids:
                pids["client"] = os.getpid()
            self.climb = Climb(
                _settings,
                [_scenarios[name] for name in _settings.scenarios],
                sender,
                pids=pids,
                # Workers' reports come once a second; a call may take its whole deadline.
                settle_s=_settings.deadline_s + (1.5 if distributed else 0.1),
                end=float(os.environ.get("LOAD_END", now() + 75)),
            )

        def tick(self) -> tuple[int, float, list[type[User]]] | None:
            """Called about once a second."""
            chosen = self.climb.tick()
            if chosen is None:
                return None
            name, rate = chosen
            return rate, _AT_ONCE, [self._users[name]]


Path(_settings.out).mkdir(parents=True, exist_ok=True)
