"""The split inside the encoder is that of the items between two readings."""

from __future__ import annotations

import socket
import urllib.request
from io import BytesIO

import numpy as np
import pytest
from prometheus_client import generate_latest

from clipsearch.serving.telemetry.metrics import Metrics
from encoder_service.encoder import Encoded
from encoder_service.inputs.texts import TextInput
from encoder_service.metrics import EncoderMetrics
from tests.load.scrape import parse, read, split_ms


def test_means_are_of_what_came_in_between() -> None:
    registry = Metrics().registry
    metrics = EncoderMetrics(registry)
    run = metrics.measured("text", lambda items: np.zeros((len(items), 2), np.float32))

    def answered(queue_s: float) -> None:
        run(["a"])
        input = TextInput(tokens=3, tokens_dropped=0)
        metrics.encoded("text", [Encoded(np.zeros(2, np.float32), input, 0.001, queue_s, 0.005)])

    answered(10.0)
    before = parse(generate_latest(registry).decode())
    answered(0.002)
    answered(0.004)
    split = split_ms(before, parse(generate_latest(registry).decode()), "text")
    assert split["queue"] == pytest.approx(3.0)
    assert split["decode"] == pytest.approx(1.0)
    assert split["batch"] == 1.0
    assert "infer" in split


def test_every_replica_of_a_name_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, 0, 0, "", (host, 9100)) for host in ("10.0.0.1", "10.0.0.2")]
    found.append((socket.AF_INET6, 0, 0, "", ("fd00::1", 9100)))  # of the first
    name = "clipsearch_encoder_queue_seconds"
    page = f'# TYPE {name} histogram\n{name}_sum{{tower="text"}} 2\n'.encode()
    pages = {f"http://{host}:9100/metrics": BytesIO(page) for host in ("10.0.0.1", "10.0.0.2")}
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: pages.pop(url))
    assert read(["", "http://encoder:9100/metrics"]) == {"queue/text/sum": 4.0}
