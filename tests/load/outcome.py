"""What a run came to: the figures of each scenario, of the whole, and the profile for `clipsearch plan`."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from clipsearch import EncoderClient
from clipsearch.cli.shared.access import access
from clipsearch.client.types import Collection, Model
from clipsearch.plan.profile import Costs, Profile
from clipsearch.plan.simulate import machine_knee_qps
from tests.bench.machine import describe
from tests.bench.summary import Summary, knee
from tests.load import calibrate
from tests.load.recording import Recording, Step, count
from tests.load.scenarios import Scenario, scenarios
from tests.load.settings import Settings
from tests.load.system import System
from tests.load.usage import resident_mb

# Those that are installed: a machine that only makes the load has no ONNX Runtime.
PACKAGES = ("locust", "grpcio", "onnxruntime", "qdrant-edge-py", "numpy")
# Refused in time with RetryInfo, or too late: what a load beyond the knee must meet. All else is an error.
REFUSED, LATE = ("RESOURCE_EXHAUSTED",), ("DEADLINE_EXCEEDED",)
# Steps at or below this share of the capacity are light: costs are read there, before anything queues.
_LIGHT = 0.55

Result = tuple[Step, Summary]


@dataclass(frozen=True, slots=True)
class Part:
    """What one scenario showed."""

    scenario: Scenario
    capacity_qps: float  # closed loop
    steps: list[Result]  # in order of the offered rate
    knee_qps: float | None

    def at(self, purpose: str) -> Summary | None:
        """The step at half the knee (`half`) or at twice it (`double`); None where there is no knee."""
        if self.knee_qps is None:
            return None
        return next((summary for step, summary in self.steps if step.purpose == purpose), None)

    @property
    def open_ended(self) -> bool:
        """Whether no higher rate was tried: the knee may lie anywhere above."""
        climbed = [summary.offered_per_s for step, summary in self.steps if step.purpose == "ladder"]
        return self.knee_qps is not None and self.knee_qps >= max(climbed)

    def note(self, step: Step, summary: Summary) -> str:
        """What a step is, in words."""
        if self.knee_qps is None:
            return ""
        if step.purpose == "ladder" and summary.offered_per_s == self.knee_qps:
            return "at least the knee" if self.open_ended else "the knee"
        return {"half": "half the knee", "double": "twice the knee"}.get(step.purpose, "")

    @property
    def goodput_ratio(self) -> float | None:
        """Answered in time a second at twice the knee over the best of the climb."""
        double = self.at("double")
        best = max((s.in_time_per_s for step, s in self.steps if step.purpose == "ladder"), default=0.0)
        return double.in_time_per_s / best if double and best else None


@dataclass(frozen=True, slots=True)
class Outcome:
    """All of it."""

    settings: Settings
    machine: dict[str, object]
    model: Model | None
    collection: Collection
    parts: list[Part]
    recall: calibrate.Recall
    errors: dict[str, int]
    refused: int
    late: int
    profile: Profile | None  # only of services that ran here
    plan_knee_qps: float | None = None  # what the simulation makes of the profile
    other_cores: float | None = None  # None where the services run elsewhere

    @staticmethod
    def make(
        under_load: System,
        recording: Recording,
        recall: calibrate.Recall,
        costs: calibrate.Costs | None,
        filled: Collection,
    ) -> Outcome:
        """From what was recorded, while the services still run."""
        settings = under_load.settings
        known = scenarios(settings.collection, settings.points, [])
        parts = [_part(known[name], recording, settings.deadline_s) for name in settings.scenarios]
        parts = [part for part in parts if part.steps]
        model, profile = None, None
        if settings.encoder:
            with EncoderClient(settings.encoder, **access()) as encoder:
                model = encoder.model()
        machine = describe(PACKAGES)
        text = next((part for part in parts if part.scenario.name == "text"), None)
        if costs is not None and model is not None and text is not None and text.knee_qps:
            profile = _profile(text, costs, model, filled, machine, settings, under_load.pids)
        expected = ("OK", *REFUSED, *LATE)
        others = sorted({row[3] for row in recording.rows} - set(expected))
        return Outcome(
            settings,
            machine,
            model,
            filled,
            parts,
            recall,
            {name: count(recording.rows, (name,)) for name in others},
            count(recording.rows, REFUSED),
            count(recording.rows, LATE),
            profile,
            None if profile is None else machine_knee_qps(profile),
        )

    def part(self, name: str) -> Part | None:
        """Of a scenario, if it was run."""
        return next((part for part in self.parts if part.scenario.name == name), None)

    def summary(self) -> dict[str, Any]:
        """What summary.json holds: the figures first, then all steps."""
        text = self.part("text")
        half = text.at("half") if text else None
        ratio = self.plan_knee_qps / self.profile.knee_qps if self.profile and self.plan_knee_qps else None
        figures: dict[str, Any] = {
            "text_search_knee_qps": text.knee_qps if text else None,
            "p50_ms": half.p50_ms if half else None,
            "p99_ms": half.p99_ms if half else None,
            "goodput_ratio_at_2x": text.goodput_ratio if text else None,
            "errors": sum(self.errors.values()),
            **{
                f"{part.scenario.name}_knee_qps": part.knee_qps
                for part in self.parts
                if part.scenario.name != "text"
            },
            "recall_at_10": self.recall.recall_at_10,
            "plan_knee_qps": self.plan_knee_qps,
            "plan_knee_ratio": ratio,
            "other_cores": self.other_cores,
        }
        return {
            **{
                name: round(value, 3) if isinstance(value, float) else value
                for name, value in figures.items()
            },
            "errors_by_kind": self.errors,
            "refused": self.refused,
            "late": self.late,
            "machine": self.machine,
            "model": None if self.model is None else self.model.name,
            "points": self.collection.points,
            "indexed_share": self.collection.indexed_share,
            "deadline_s": self.settings.deadline_s,
            "recall": asdict(self.recall),
            "scenarios": [
                {
                    "name": part.scenario.name,
                    "p99_bound_ms": part.scenario.p99_bound_ms,
                    "capacity_qps": part.capacity_qps,
                    "knee_qps": part.knee_qps,
                    "knee_is_at_least": part.open_ended,
                    "steps": [
                        {**asdict(step), **{f"result_{k}": v for k, v in asdict(result).items()}}
                        for step, result in part.steps
                    ],
                }
                for part in self.parts
            ],
        }


def _part(scenario: Scenario, recording: Recording, deadline_s: float) -> Part:
    steps = [
        (step, recording.summary(step, deadline_s))
        for step in recording.steps
        if step.scenario == scenario.name
    ]
    climb = [summary for step, summary in steps if step.purpose == "ladder"]
    found = knee(climb, scenario.p99_bound_ms)
    steps.sort(key=lambda result: result[1].offered_per_s)
    capacity = recording.capacity.get(scenario.name, 0.0)
    return Part(scenario, capacity, steps, found.offered_per_s if found else None)


def _profile(
    text: Part,
    costs: calibrate.Costs,
    model: Model,
    filled: Collection,
    machine: dict[str, object],
    settings: Settings,
    pids: dict[str, int],
) -> Profile:
    """Costs from the light steps; how a batch shares the session's from single calls."""
    light = [
        result for result in text.steps if result[1].offered_per_s <= _LIGHT * max(text.capacity_qps, 1)
    ] or text.steps[:1]
    cpu = {
        name: sum(step.cpu.get(name, 0.0) for step, _ in light)
        / max(1.0, sum(summary.ok_per_s * (step.end - step.start) for step, summary in light))
        * 1000
        for name in {name: None for step, _ in light for name in step.cpu}
    }
    batch = statistics.fmean(step.split.get("text", {}).get("batch", 1.0) for step, _ in light)
    one, many = costs.texts[1]["rest"], costs.texts[16]["rest"]
    item_ms = max(0.0, (many - one) / 15)
    fixed_ms = max(0.0, one - item_ms)
    # Under a light load the same run costs a little less than alone: threads are awake.
    scale = cpu["encoder.rest"] / max(1e-9, fixed_ms / batch + item_ms)
    memory = resident_mb(pids)
    assert text.knee_qps is not None
    return Profile(
        model=model.name,
        dimension=model.dimension,
        precision=model.text_precision,
        measured=str(machine["date"]),
        cpu=str(machine["cpu"]),
        cores=int(str(machine["cores"])),
        free_cores=free_cores(
            # Where the load asked for all it could get; below, busy neighbours have what it does not need.
            [step for step, summary in text.steps if summary.offered_per_s >= text.knee_qps],
            int(str(machine["cores"])),
        ),
        points=filled.points,
        knee_qps=text.knee_qps,
        p99_bound_ms=text.scenario.p99_bound_ms,
        deadline_s=settings.deadline_s,
        costs=Costs(
            client_ms=cpu["client.loop"] + cpu["client.rest"],
            search_loop_ms=cpu["search.loop"],
            search_rest_ms=cpu["search.rest"],
            encoder_loop_ms=cpu["encoder.loop"],
            session_fixed_ms=fixed_ms * scale,
            session_item_ms=item_ms * scale,
            store_ms=sum(value for name, value in cpu.items() if name.startswith("search.child")),
            image_loop_ms=costs.images[1]["loop"],
            image_rest_ms=costs.images[1]["rest"],
        ),
        session_shape=tuple(costs.session_shape),
        store_shape=tuple(costs.store_shape),
        encoder_mb=memory["encoder"],
        search_mb=memory["search"] + memory["search.children"],
    )


def free_cores(steps: Sequence[Step], cores: int) -> float:
    """The machine's cores less what processes outside the run kept busy during the steps."""
    seconds = sum(step.end - step.start for step in steps)
    own = sum(value for step in steps for name, value in step.cpu.items() if name != "machine")
    busy = sum(step.cpu.get("machine", 0.0) for step in steps)
    return max(0.1, cores - max(0.0, busy - own) / seconds)


def dump(document: Any) -> str:
    """JSON for a file."""
    return json.dumps(document, indent=2, default=str) + "\n"
