"""Reads the services' /metrics: where the time went inside the encoder, between two readings."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterable

from prometheus_client.parser import text_string_to_metric_families

# Histogram -> what it is called here. Seconds, but for the batch.
_HISTOGRAMS = {
    "clipsearch_encoder_preprocess_seconds": "decode",
    "clipsearch_encoder_queue_seconds": "queue",
    "clipsearch_encoder_infer_seconds": "infer",
    "clipsearch_encoder_batch_items": "batch",
    "clipsearch_search_dependency_seconds": "dependency",
}
Reading = dict[str, float]


def read(urls: Iterable[str]) -> Reading:
    """Sums and counts of the histograms that matter, from every service that answers; no URL, no entry."""
    reading: Reading = {}
    for url in urls:
        if url:
            with urllib.request.urlopen(url, timeout=2) as answer:
                reading.update(parse(answer.read().decode()))
    return reading


def parse(text: str) -> Reading:
    """`NAME/LABELS/sum` and `/count` by histogram."""
    reading: Reading = {}
    for family in text_string_to_metric_families(text):
        if family.name not in _HISTOGRAMS:
            continue
        for sample in family.samples:
            kind = sample.name.rpartition("_")[2]
            if kind in ("sum", "count"):
                labels = ",".join(sample.labels.values())
                reading[f"{_HISTOGRAMS[family.name]}/{labels}/{kind}"] = sample.value
    return reading


def split_ms(before: Reading, after: Reading, tower: str) -> dict[str, float]:
    """Mean milliseconds of an item of the tower in `decode`, `queue` and `infer`, and its mean `batch`.

    A step without an item in between is left out.
    """
    found = {}
    for step in ("decode", "queue", "infer", "batch"):
        total, count = (
            after.get(f"{step}/{tower}/{kind}", 0.0) - before.get(f"{step}/{tower}/{kind}", 0.0)
            for kind in ("sum", "count")
        )
        if count > 0:
            found[step] = total / count * (1 if step == "batch" else 1000)
    return found
