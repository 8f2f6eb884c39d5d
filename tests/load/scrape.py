"""Reads the services' /metrics: where the time went inside the encoder, between two readings."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

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
    """Sums and counts of the histograms that matter, over all replicas of each service; no URL, no entry."""
    reading: Reading = {}
    for url in filter(None, urls):
        for replica in _replicas(url):
            with urllib.request.urlopen(replica, timeout=2) as answer:
                for name, value in parse(answer.read().decode()).items():
                    reading[name] = reading.get(name, 0.0) + value
    return reading


def _replicas(url: str) -> Iterator[str]:
    """The URL at each address that its name has: a headless Service has one for each pod."""
    parts = urlsplit(url)
    port = parts.port or 80
    found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    family = min(entry[0] for entry in found)  # a pod with an address of each kind is one pod
    for host in sorted(str(entry[4][0]) for entry in found if entry[0] == family):
        yield parts._replace(netloc=f"[{host}]:{port}" if ":" in host else f"{host}:{port}").geturl()


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
