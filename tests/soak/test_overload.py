"""A short share of `make overload`: what must hold whatever the machine does meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from PIL import Image

from clipsearch.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from tests.bench.encoder.corpus import small_pictures, stamped
from tests.overload.__main__ import ALLOWED, Watch, measure
from tests.processes import ServiceProcess

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """A few pictures where `make overload` makes hundreds."""
    folder = tmp_path_factory.mktemp("corpus")
    for name in ("small", "large"):
        (folder / name).mkdir()
        for number in range(8):
            noise = np.random.default_rng(number).integers(0, 256, (15, 20, 3), np.uint8)
            Image.fromarray(noise).resize((640, 480)).save(folder / name / f"{number}.jpg")
    return folder


def test_ten_times_the_best_rate_is_refused_and_not_piled_up(tmp_path, starter_bundle, corpus):
    report = measure(starter_bundle, tmp_path, corpus, "image", seconds=5, step_s=2)
    assert set(report["statuses"]) <= ALLOWED
    assert report["statuses"].get("RESOURCE_EXHAUSTED", 0) > 0
    assert report["overload"]["in_time_per_s"] > 0
    assert report["rss_growth_mb"] < 200
    assert max(report["health_ms"]) < 5000  # answered each time; how fast, `make overload` asks


async def test_every_refusal_says_when_to_come_back(tmp_path, starter_bundle, corpus):
    pictures = small_pictures(corpus)
    settings = {
        "ENCODER_MODEL": str(starter_bundle),
        "ENCODER_QUEUE_IMAGES": "16",
        "ENCODER_MAX_CONCURRENT_RPCS": "100",
    }
    with ServiceProcess("encoder", tmp_path, **settings) as service, Watch(service) as watch:
        async with grpc.aio.insecure_channel(service.address) as channel:
            stub = encoder_pb2_grpc.EncoderServiceStub(channel)

            async def send(number: int) -> grpc.aio.AioRpcError | None:
                picture = stamped(pictures[number % len(pictures)], number)
                try:
                    await stub.EncodeImage(encoder_pb2.EncodeImageRequest(images=[picture]), timeout=20)
                except grpc.aio.AioRpcError as error:
                    return error
                return None

            errors = [error for error in await asyncio.gather(*map(send, range(300))) if error is not None]
    reasons = set()
    for error in errors:
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        details = rpc_status.from_call(error).details
        assert any(detail.Unpack(info) for detail in details)
        assert any(detail.Unpack(retry) for detail in details)
        assert retry.retry_delay.ToMilliseconds() > 0
        reasons.add(info.reason)
    assert 0 < len(errors) < 300
    assert reasons <= {"QUEUE_FULL", "TOO_MANY_CALLS", "WAIT_EXCEEDS_DEADLINE"}
    assert float("inf") not in watch.health_ms
