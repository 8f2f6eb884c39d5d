"""The encoder's Prometheus metrics: where a call's time goes, what waits, what the cache spares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from clipsearch.serving.telemetry.metrics import LATENCY_BUCKETS
from encoder_service.bundle import Tower
from encoder_service.encoder import Encoded, Encoder, Outcome
from encoder_service.runtime.session import Item, Run

_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class EncoderMetrics:
    """Histograms by tower (`image` or `text`). The rest is read from the towers when it is asked for."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._batches = Histogram(
            "clipsearch_encoder_batch_items",
            "Items that went through the session together.",
            ["tower"],
            buckets=_BATCH_BUCKETS,
            registry=registry,
        )
        self._preprocess = self._seconds("preprocess", "decoding and resizing an image, or tokenising a text")
        self._queue = self._seconds("queue", "an item's wait for the session")
        self._infer = self._seconds("infer", "a batch's run in ONNX Runtime")

    def measured(self, tower: Tower, run: Run[Item]) -> Run[Item]:
        """A tower's `run`, each batch of it counted and timed."""
        batches, infer = self._batches.labels(tower), self._infer.labels(tower)

        def measured(items: Sequence[Item]) -> NDArray[np.float32]:
            batches.observe(len(items))
            with infer.time():
                return run(items)

        return measured

    def encoded(self, tower: Tower, outcomes: Sequence[Outcome]) -> None:
        """Inputs of one call were answered. Those that were refused or in the cache cost nothing."""
        preprocess, queue = self._preprocess.labels(tower), self._queue.labels(tower)
        for outcome in outcomes:
            if isinstance(outcome, Encoded) and outcome.infer_s:
                preprocess.observe(outcome.preprocess_s)
                queue.observe(outcome.queue_s)

    def watch(self, encoder: Encoder) -> None:
        """From now on the metrics tell of this encoder."""
        self._registry.register(_State(encoder))

    def _seconds(self, step: str, meaning: str) -> Histogram:
        return Histogram(
            f"clipsearch_encoder_{step}_seconds",
            f"Seconds: {meaning}.",
            ["tower"],
            buckets=LATENCY_BUCKETS,
            registry=self._registry,
        )


class _State(Collector):
    """Reads counts at each scrape, from the scrape's thread; each is one load of an integer."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def collect(self) -> Iterator[Metric]:
        manifest, running = self._encoder.manifest, self._encoder.running
        facts = {
            "name": manifest.name,
            "fingerprint": manifest.fingerprint,
            **asdict(running),
            "pretrained": str(manifest.pretrained).lower(),
        }
        model = GaugeMetricFamily(
            "clipsearch_encoder_model_info", "Always 1; the labels say which model runs.", labels=list(facts)
        )
        model.add_metric(list(facts.values()), 1)
        yield model
        gauges = [
            GaugeMetricFamily(name, meaning, labels=["tower"])
            for name, meaning in (
                ("clipsearch_encoder_queue_items", "Items that wait for the session."),
                ("clipsearch_encoder_admitted_items", "Items from arrival to answer."),
                ("clipsearch_encoder_admitted_bytes", "Bytes of the items from arrival to answer."),
            )
        ]
        for name, tower in (("image", self._encoder.images), ("text", self._encoder.texts)):
            counts = len(tower.batcher), tower.admission.items, tower.admission.bytes
            for gauge, count in zip(gauges, counts, strict=True):
                gauge.add_metric([name], count)
        yield from gauges
        cache = self._encoder.texts.cache
        yield CounterMetricFamily(
            "clipsearch_encoder_text_cache_hits", "Texts answered from the cache.", cache.hits
        )
        yield CounterMetricFamily(
            "clipsearch_encoder_text_cache_misses", "Texts not in the cache.", cache.misses
        )
        yield GaugeMetricFamily("clipsearch_encoder_text_cache_bytes", "Memory of the cache.", cache.size)
