"""The encoder as the search service meets it: whole, slow, full, wrong, gone and back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import numpy as np
import pytest

from clipsearch.serving.deadline import deadline_at
from clipsearch.serving.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
    ServiceError,
    Unauthenticated,
    Unavailable,
)
from search_service.encoder import client as encoder_client
from search_service.encoder.client import EncoderClient
from tests.unit.search_service.served import CONTEXT, DIMENSION, FakeEncoder
from tests.waiting import HANGS_S


@pytest.fixture
async def client(encoder: FakeEncoder) -> AsyncIterator[EncoderClient]:
    client = EncoderClient(encoder.address, timeout_s=HANGS_S)
    yield client
    await client.close()


async def test_there_is_one_connection(client, encoder):
    for n in range(4):
        await client.encode([f"text {n}"], [b"picture"])
    assert len(set(encoder.peers)) == 1


async def test_texts_and_images_come_back_in_order_with_what_was_cut(client, encoder):
    encoder.vectors = {"a": np.eye(DIMENSION)[0], b"p": np.eye(DIMENSION)[1]}
    encoding = await client.encode(["a", "b" * (CONTEXT + 3)], [b"p"])
    assert encoding.fingerprint == "fake-1"
    assert encoding.texts[0].vector.tolist() == np.eye(DIMENSION)[0].tolist()
    assert [outcome.tokens_dropped for outcome in encoding.texts] == [0, 3]
    assert encoding.images[0].vector.tolist() == np.eye(DIMENSION)[1].tolist()
    assert encoding.images[0].vector.dtype == np.float32


async def test_long_lists_go_in_several_calls_within_the_encoders_limits(client, encoder):
    texts = [f"text {i}" for i in range(300)]
    images = [bytes([i]) for i in range(70)]
    encoding = await client.encode(texts, images)
    assert sorted(encoder.calls) == [
        ("EncodeImage", 6),
        ("EncodeImage", 32),
        ("EncodeImage", 32),
        ("EncodeText", 44),
        ("EncodeText", 256),
    ]
    alone = await client.encode([texts[299]], [images[69]])
    assert encoding.texts[299].vector.tolist() == alone.texts[0].vector.tolist()
    assert encoding.images[69].vector.tolist() == alone.images[0].vector.tolist()


async def test_a_short_absence_is_bridged_by_trying_again(client, encoder, monkeypatch):
    async def called(name: str, items: int) -> None:
        encoder.calls.append((name, items))
        if len(encoder.calls) < 3:
            raise Unavailable("encoder", "draining")

    monkeypatch.setattr(encoder, "_called", called)
    await client.encode(["a"], [])
    assert len(encoder.calls) == 3


async def test_a_slow_encoder_is_unavailable_by_our_limit_but_late_by_the_callers(encoder):
    encoder.go_on.clear()
    client = EncoderClient(encoder.address, timeout_s=0.1)
    with pytest.raises(Unavailable, match=r"did not answer within 0\.1 s"):
        await client.encode(["a"], [])
    with pytest.raises(DeadlineExceeded), deadline_at(time.monotonic() + 0.08):
        await client.encode(["a"], [])
    await client.close()


async def test_a_full_encoder_passes_on_when_to_come_back(client, encoder):
    encoder.error = ResourceExhausted("the queue is full", "QUEUE_FULL", retry_after_s=1.5)
    with pytest.raises(ResourceExhausted) as caught:
        await client.encode(["a"], [])
    assert (caught.value.reason, caught.value.retry_after_s) == ("QUEUE_FULL", 1.5)
    assert len(encoder.calls) == 1, "a full encoder must not be asked again at once"


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (InvalidArgument("texts", "9 given"), FailedPrecondition, "ENCODER_REFUSED"),
        (ServiceError("incident 1", "INTERNAL"), ServiceError, "ENCODER_FAILED"),
        (DeadlineExceeded(), Unavailable, "ENCODER_UNAVAILABLE"),
    ],
)
async def test_other_failures_are_told_apart(client, encoder, error, kind, reason):
    encoder.error = error
    with pytest.raises(kind) as caught:
        await client.encode(["a"], [])
    assert caught.value.reason == reason


async def test_the_first_failure_ends_the_calls_beside_it(client, encoder, monkeypatch):
    monkeypatch.setattr(encoder_client, "TEXTS_A_CALL", 2)
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def called(name: str, items: int) -> None:
        if items == 1:
            await begun.wait()
            raise ResourceExhausted("full", "QUEUE_FULL", 1)
        begun.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    monkeypatch.setattr(encoder, "_called", called)
    with pytest.raises(ResourceExhausted):
        await client.encode(["a", "b", "c"], [])
    await cancelled.wait()


async def test_replicas_with_different_models_are_not_mixed(client, encoder, monkeypatch):
    monkeypatch.setattr(encoder_client, "TEXTS_A_CALL", 1)
    text = encoder._text

    def changing(value, index):
        encoder.fingerprint = f"fake-{value}"
        return text(value, index)

    monkeypatch.setattr(encoder, "_text", changing)
    with pytest.raises(Unavailable, match="fake-a, fake-b"):
        await client.encode(["a", "b"], [])


async def test_a_ping_waits_no_longer_than_a_call(encoder):
    encoder.go_on.clear()
    client = EncoderClient(encoder.address, timeout_s=0.1)
    with pytest.raises(Unavailable, match=r"did not answer within 0\.1 s"):
        await client.ping()
    await client.close()


async def test_an_encoder_answers_a_ping_though_it_is_full(client, encoder):
    await client.ping()
    encoder.error = ResourceExhausted("the queue is full", "QUEUE_FULL", retry_after_s=1.5)
    await client.ping()
    await encoder.stop()
    with pytest.raises(Unavailable):
        await client.ping()


@pytest.mark.parametrize(
    "error", [Unauthenticated("who?", "TOKEN_UNKNOWN"), PermissionDenied("no", "SCOPE_MISSING")]
)
async def test_our_credentials_refused_is_no_fault_of_the_caller(client, encoder, error):
    encoder.error = error
    with pytest.raises(Unavailable, match="refuses this service's credentials"):
        await client.encode(["a"], [])
