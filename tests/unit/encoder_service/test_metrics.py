"""The encoder's metrics, on an encoder that runs a small bundle."""

from __future__ import annotations

import math

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from clipsearch.serving.errors import InvalidArgument
from encoder_service.encoder import Encoded
from encoder_service.inputs.texts import TextInput
from encoder_service.loading import open_encoder
from encoder_service.metrics import EncoderMetrics
from encoder_service.settings import EncoderSettings


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def value(registry: CollectorRegistry, metric: str, /, **labels: str) -> float | None:
    return registry.get_sample_value(f"clipsearch_encoder_{metric}", labels)


def test_batches_are_counted_by_size_and_timed(registry):
    run = EncoderMetrics(registry).measured("image", lambda items: np.zeros((len(items), 4), np.float32))
    assert run([1, 2, 3]).shape == (3, 4)
    run([1])
    assert value(registry, "batch_items_count", tower="image") == 2
    assert value(registry, "batch_items_sum", tower="image") == 4
    assert value(registry, "batch_items_bucket", tower="image", le="2.0") == 1
    assert value(registry, "infer_seconds_count", tower="image") == 2
    assert value(registry, "infer_seconds_count", tower="text") is None


def test_times_are_those_of_inputs_that_went_through_the_session(registry):
    vector = np.zeros(4, np.float32)
    outcomes = [
        Encoded(vector, TextInput(3, 0), preprocess_s=0.25, queue_s=0.5, infer_s=0.1),
        Encoded(vector, TextInput(3, 0)),  # out of the cache
        InvalidArgument("texts[2]", "empty"),
    ]
    EncoderMetrics(registry).encoded("text", outcomes)
    assert value(registry, "preprocess_seconds_count", tower="text") == 1
    assert value(registry, "preprocess_seconds_sum", tower="text") == 0.25
    assert value(registry, "queue_seconds_sum", tower="text") == 0.5


async def test_the_model_the_queues_and_the_cache_are_read_as_they_stand(registry, toy_bundle):
    async with open_encoder(EncoderSettings(model=toy_bundle)) as encoder:
        metrics = EncoderMetrics(registry)
        metrics.watch(encoder)
        await encoder.encode_texts(["a cat", "a dog"])
        await encoder.encode_texts(["a cat"])
        model = {
            "name": "toy",
            "fingerprint": encoder.manifest.fingerprint,
            "image_precision": "fp32",
            "text_precision": "fp32",
            "provider": "CPUExecutionProvider",
            "pretrained": "false",
        }
        assert value(registry, "model_info", **model) == 1
        assert value(registry, "text_cache_hits_total") == 1
        assert value(registry, "text_cache_misses_total") == 2
        assert value(registry, "text_cache_bytes") > 0
        assert value(registry, "queue_items", tower="text") == 0
        with encoder.images.admission.admit(2, 1000, math.inf):
            assert value(registry, "admitted_items", tower="image") == 2
            assert value(registry, "admitted_bytes", tower="image") == 1000
