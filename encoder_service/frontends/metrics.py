"""One metrics endpoint for all processes: the session process asks the front ends and adds up.

Counters and histograms are summed, those of front ends that have died included, so that no sum ever
falls. Gauges are summed too, but for those whose sum means nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from typing import Protocol, TypeAlias

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

# name, type, help, and of each sample its name, labels and value
_Family: TypeAlias = tuple[str, str, str, list[tuple[str, dict[str, str], float]]]
_Key: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]

_LEAST = ("clipsearch_ready", "process_start_time_seconds")
_MOST = ("clipsearch_event_loop_lag_max_seconds", "process_max_fds", "clipsearch_build_info",
         "clipsearch_encoder_model_info", "python_info")  # fmt: skip
_KEPT = ("counter", "histogram")


class Watched(Protocol):
    """What the metrics want to know of the front ends."""

    restarts: int

    @property
    def serving_now(self) -> int:
        """How many serve."""


def snapshot(registry: CollectorRegistry) -> str:
    """All that a registry has, as JSON."""
    return _json(registry.collect())


def _json(metrics: Iterable[Metric]) -> str:
    return json.dumps(
        [
            (metric.name, metric.type, metric.documentation, [sample[:3] for sample in metric.samples])
            for metric in metrics
        ]
    )


def kept(before: str, last: str) -> str:
    """What front ends that have died have counted: those before, and one that said `last` at last."""
    counted = [family for family in _families(last) if family[1] in _KEPT]
    return _json(_merge([*_families(before), *counted]))


class Merged(Collector):
    """The metrics of this process and of the snapshots that `ask` gives; it may block."""

    def __init__(self, own: CollectorRegistry, ask: Callable[[], Sequence[str]]) -> None:
        self._own = own
        self._ask = ask

    def collect(self) -> Iterator[Metric]:
        """Called by the thread that serves the metrics."""
        snapshots = [snapshot(self._own), *self._ask()]
        yield from _merge(family for text in snapshots for family in _families(text))

    def describe(self) -> Iterable[Metric]:
        """Nothing: to be registered must not mean to be asked."""
        return []

    @property
    def registry(self) -> CollectorRegistry:
        """A registry that has these metrics and nothing else."""
        registry = CollectorRegistry()
        registry.register(self)
        return registry


def _families(text: str) -> list[_Family]:
    families: list[_Family] = json.loads(text) if text else []
    return families


def _merge(families: Iterable[_Family]) -> Iterator[Metric]:
    described: dict[str, tuple[str, str]] = {}
    values: dict[str, dict[_Key, float]] = {}
    for name, kind, documentation, samples in families:
        described.setdefault(name, (documentation, kind))
        merged = values.setdefault(name, {})
        for sample, labels, value in samples:
            key = (sample, tuple(labels.items()))
            merged[key] = _joined(name, sample, merged[key], value) if key in merged else value
    for name, (documentation, kind) in described.items():
        metric = Metric(name, documentation, kind)
        for (sample, pairs), value in values[name].items():
            metric.add_sample(sample, dict(pairs), value)
        yield metric


def _joined(name: str, sample: str, one: float, other: float) -> float:
    if name in _LEAST or sample.endswith("_created"):
        return min(one, other)
    if name in _MOST:
        return max(one, other)
    return one + other


class OfSession(Collector):
    """What the session process alone knows: items that wait for the session, front ends and restarts."""

    def __init__(self, pictures: Sized, texts: Sized, fronts: Watched) -> None:
        self._pictures, self._texts, self._fronts = pictures, texts, fronts

    def collect(self) -> Iterator[Metric]:
        """Read from the thread that serves the metrics; each is one load of an integer."""
        waiting = GaugeMetricFamily(
            "clipsearch_encoder_queue_items", "Items that wait for the session.", labels=["tower"]
        )
        waiting.add_metric(["image"], len(self._pictures))
        waiting.add_metric(["text"], len(self._texts))
        yield waiting
        yield GaugeMetricFamily(
            "clipsearch_encoder_frontends", "Front ends that serve.", self._fronts.serving_now
        )
        yield CounterMetricFamily(
            "clipsearch_encoder_frontend_restarts",
            "Front ends that have died and were started again.",
            self._fronts.restarts,
        )
