"""Carries the ladders out: what to offer now, when a step counts, and what it cost meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.bench.summary import Summary
from tests.load import scrape
from tests.load.ladder import Ladder, Rung, thinned
from tests.load.recording import Recording, Row, Step, difference, summarise
from tests.load.scenarios import Scenario
from tests.load.sender import Sender, now
from tests.load.settings import Settings
from tests.load.usage import cpu_seconds

WARM_S = 0.9  # what a step leaves to the next one passes, and Locust starts users
WINDOW_S = 3.0
_STEP_S = WARM_S + WINDOW_S + 0.4  # Locust asks about once a second
_PROBE_S = 2.0
_PROBE_CLIENTS = {"text": 32, "image": 8, "mixed": 16, "ingest": 4}
# The first two are light: what a call costs is measured there, before anything queues.
_SHARES: dict[str, tuple[float, ...]] = {"text": (0.3, 0.5, 0.7, 0.8, 0.9, 1.0, 1.15)}
_OTHER_SHARES = (0.5, 0.8, 1.0)
_PART = {"text": 0.52, "image": 0.18, "mixed": 0.15, "ingest": 0.15}  # of the time


class Climb:
    """The state of the run. `end` is when the load must be over, Unix seconds."""

    def __init__(
        self,
        settings: Settings,
        scenarios: Sequence[Scenario],
        sender: Sender,
        *,
        pids: Mapping[str, int],
        settle_s: float,
        end: float,
    ) -> None:
        self._settings = settings
        self._todo = list(scenarios)
        self._sender = sender
        self._pids = pids
        self._settle_s = settle_s
        self._end = end
        self._rows: list[Row] = []
        self._steps: list[Step] = []
        self._capacity: dict[str, float] = {}
        self._scenario: Scenario | None = None
        self._ladder: Ladder | None = None
        self._rung: Rung | None = None
        self._since = self._scenario_end = 0.0
        self._counting: Step | None = None
        self._before: tuple[dict[str, float], scrape.Reading] = ({}, {})

    def recording(self) -> Recording:
        """All that was recorded so far."""
        self._rows += self._sender.take()
        return Recording([step for step in self._steps if step.end], self._rows, self._capacity)

    def tick(self) -> tuple[str, int] | None:
        """The scenario and the rate to offer from now on; None = the load is over."""
        if self._ladder is None and not self._begin_scenario():
            return self._wait_for_the_last()
        assert self._scenario is not None
        if self._rung is not None and not self._rung_is_over():
            return self._scenario.name, self._rung.rate
        self._finish_step()
        assert self._ladder is not None
        room = int((self._scenario_end - now()) / _STEP_S)
        self._rung = self._ladder.next(self._results(), self._rung, room)
        if self._rung is None:
            self._ladder = None
            return self.tick()
        self._since = now()
        return self._scenario.name, self._rung.rate

    def _wait_for_the_last(self) -> tuple[str, int] | None:
        """A trickle until the calls of the last step are answered or given up."""
        if self._scenario is None or now() - self._steps[-1].end >= self._settle_s:
            return None
        return self._scenario.name, 1

    def _begin_scenario(self) -> bool:
        if not self._todo or now() > self._end - _PROBE_S - _STEP_S:
            return False
        parts = [_PART[scenario.name] for scenario in self._todo]
        scenario = self._scenario = self._todo.pop(0)
        self._scenario_end = now() + (self._end - now()) * parts[0] / sum(parts)
        capacity = self._sender.capacity(scenario, _PROBE_CLIENTS[scenario.name], _PROBE_S)
        self._capacity[scenario.name] = capacity
        points = scenario.name == "text"  # of half the knee and twice it, and a rest before
        rungs = int((self._scenario_end - now()) / _STEP_S) - (3 if points else 0)
        shares = thinned(_SHARES.get(scenario.name, _OTHER_SHARES), rungs)
        self._ladder = Ladder(max(capacity, 1.0), shares, scenario.p99_bound_ms, points)
        self._rung = None
        return True

    def _rung_is_over(self) -> bool:
        """Also begins and ends what is counted."""
        assert self._rung is not None
        assert self._scenario is not None
        passed = now() - self._since
        if self._rung.purpose == "rest":
            return passed >= self._settle_s
        if self._counting is None:
            if passed >= WARM_S:
                self._before = self._counts()
                self._counting = Step(self._scenario.name, self._rung.rate, self._rung.purpose, now())
            return False
        return now() - self._counting.start >= WINDOW_S

    def _finish_step(self) -> None:
        step, self._counting = self._counting, None
        if step is None:
            return
        step.end = now()
        cpu, reading = self._counts()
        step.cpu = difference(self._before[0], cpu)
        for tower in ("text", "image"):
            step.split[tower] = scrape.split_ms(self._before[1], reading, tower)
        self._steps.append(step)

    def _counts(self) -> tuple[dict[str, float], scrape.Reading]:
        urls = (self._settings.encoder_metrics, self._settings.search_metrics)
        return cpu_seconds(self._pids) if self._pids else {}, scrape.read(urls)

    def _results(self) -> list[tuple[Rung, Summary]]:
        """Of this scenario's steps whose calls have all been answered or given up."""
        self._rows += self._sender.take()
        assert self._scenario is not None
        return [
            (Rung(step.rate, step.purpose), summarise(self._rows, step, self._settings.deadline_s))  # type: ignore[arg-type]
            for step in self._steps
            if step.scenario == self._scenario.name and now() - step.end >= self._settle_s
        ]
