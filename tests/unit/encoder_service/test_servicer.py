"""All four RPCs over a real channel, on the toy bundle and real sessions."""

from __future__ import annotations

import asyncio
import math
import re
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from clipsearch.encoder.v1 import encoder_pb2 as pb
from clipsearch.encoder.v1 import encoder_pb2_grpc, vector_pb2
from clipsearch.serving.calls import CallInterceptor
from encoder_service.__main__ import encoder_services
from encoder_service.bundle import decode_vector, known_answer_pixels, read_manifest
from encoder_service.encoder import Encoder
from encoder_service.inputs.texts import Tokens
from encoder_service.loading import open_encoder
from encoder_service.settings import EncoderSettings
from tests.ports import OWN_PORT
from tests.unit.clipsearch.serving.served import requests
from tests.waiting import until

Jpeg = Callable[..., bytes]
BYTES = vector_pb2.VECTOR_FORMAT_F32_BYTES


@pytest.fixture
def settings(toy_bundle: Path) -> EncoderSettings:
    return EncoderSettings(
        model=toy_bundle,
        max_batch=8,
        max_batch_tokens=128,
        max_images=3,
        max_texts=4,
        max_labels=3,
        max_text_bytes=200,
    )


@pytest.fixture
async def encoder(settings: EncoderSettings) -> AsyncIterator[Encoder]:
    async with open_encoder(settings) as opened:
        yield opened


@pytest.fixture
async def stub(encoder: Encoder, settings: EncoderSettings) -> AsyncIterator[Any]:
    calls = CallInterceptor(requests(most_elements=settings.most_elements))
    server = grpc.aio.server(options=OWN_PORT, interceptors=[calls])
    service, _openai = encoder_services(encoder, settings)
    service.add(server)
    calls.prechecks[service.name] = service.precheck
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield encoder_pb2_grpc.EncoderServiceStub(channel)
    await server.stop(None)


def floats(embedding: pb.Embedding) -> np.ndarray[Any, np.dtype[np.float32]]:
    vector = embedding.vector
    return np.frombuffer(vector.f32, "<f4") if vector.f32 else np.array(vector.values, np.float32)


def reason(status: status_pb2.Status) -> str:
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info.reason


async def refused(call: Any) -> tuple[grpc.StatusCode, str, str]:
    """Code, message and reason of a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = rpc_status.from_call(caught.value)
    return caught.value.code(), caught.value.details() or "", reason(status)


async def test_get_model_describes_the_bundle_and_the_session(stub: Any, toy_bundle: Path) -> None:
    manifest = read_manifest(toy_bundle)
    assert await stub.GetModel(pb.GetModelRequest()) == pb.GetModelResponse(
        name="toy",
        fingerprint=manifest.fingerprint,
        dimension=16,
        image_size=8,
        context_length=12,
        precision="fp32",
        text_precision="fp32",
        provider="CPUExecutionProvider",
        pretrained=False,
        logit_scale=10.0,
        license="Apache-2.0",
    )


@pytest.mark.parametrize(
    "format", [vector_pb2.VECTOR_FORMAT_UNSPECIFIED, vector_pb2.VECTOR_FORMAT_FLOATS, BYTES]
)
async def test_vectors_come_in_the_format_that_was_asked_for(stub: Any, format: Any) -> None:
    answer = await stub.EncodeText(pb.EncodeTextRequest(texts=["a cat"], format=format))
    vector = answer.embeddings[0].vector
    assert (len(vector.values), len(vector.f32)) == ((0, 64) if format == BYTES else (16, 0))
    assert np.linalg.norm(floats(answer.embeddings[0])) == pytest.approx(1)


async def test_texts_are_answered_in_order_with_what_was_done(stub: Any, toy_bundle: Path) -> None:
    request = pb.EncodeTextRequest(texts=["a cat", " ", "cat " * 20, "a cat"], format=BYTES)
    answer = await stub.EncodeText(request)
    first, empty, long, again = answer.embeddings
    assert first.vector == again.vector
    assert (first.text.tokens, first.text.tokens_dropped) == (4, 0)
    assert (long.text.tokens, long.text.tokens_dropped) == (12, 10)
    assert empty.WhichOneof("result") == "error"
    assert (empty.error.code, reason(empty.error)) == (code_pb2.INVALID_ARGUMENT, "TEXT_EMPTY")
    assert empty.error.message.startswith("texts[1]:")
    assert answer.fingerprint == read_manifest(toy_bundle).fingerprint
    assert answer.timings.infer_ms > 0


async def test_images_are_answered_in_order_with_what_was_done(stub: Any, jpeg: Jpeg) -> None:
    answer = await stub.EncodeImage(pb.EncodeImageRequest(images=[jpeg(), b"no image", jpeg((0, 0, 255))]))
    red, bad, blue = answer.embeddings
    assert red.image == pb.ImageInput(width=20, height=16, format="JPEG", orientation=1, frames=1, mode="RGB")
    assert reason(bad.error) == "IMAGE_UNSUPPORTED_FORMAT"
    assert not bad.HasField("image")
    assert floats(red) @ floats(blue) < 0.999
    assert answer.timings.preprocess_ms > 0


async def test_raw_pixels_give_what_the_model_gives(stub: Any, toy_bundle: Path) -> None:
    pixels = known_answer_pixels(8)
    raw = pb.RawPixels(rgb=pixels.tobytes() * 2, count=2)
    answer = await stub.EncodeImage(pb.EncodeImageRequest(raw=raw, format=BYTES))
    assert [embedding.image.format for embedding in answer.embeddings] == ["RAW", "RAW"]
    known = read_manifest(toy_bundle).known_answer.image_vector
    for embedding in answer.embeddings:
        assert floats(embedding) == pytest.approx(decode_vector(known), abs=1e-6)


async def test_classify_ranks_every_label(stub: Any, jpeg: Jpeg) -> None:
    request = pb.ClassifyRequest(images=[jpeg(), b"no"], labels=["cat", "dog", "red"])
    good, bad = (await stub.Classify(request)).classifications
    assert sorted(score.label for score in good.scores) == ["cat", "dog", "red"]
    assert sum(score.probability for score in good.scores) == pytest.approx(1)
    assert [score.cosine for score in good.scores] == sorted((s.cosine for s in good.scores), reverse=True)
    assert not bad.scores
    assert bad.error.message.startswith("images[1]:")


async def test_classify_puts_the_label_into_the_template(stub: Any, jpeg: Jpeg) -> None:
    plain = await stub.Classify(
        pb.ClassifyRequest(images=[jpeg()], labels=["cat"], prompt_template="red {} of {}")
    )
    vector = floats((await stub.EncodeText(pb.EncodeTextRequest(texts=["red cat of cat"]))).embeddings[0])
    seen = floats((await stub.EncodeImage(pb.EncodeImageRequest(images=[jpeg()]))).embeddings[0])
    assert plain.classifications[0].scores[0].cosine == pytest.approx(float(vector @ seen), abs=1e-6)


async def test_of_several_templates_a_label_is_the_mean(stub: Any, jpeg: Jpeg) -> None:
    templates = ["red {}", "a {}", "{} of green"]
    mean = 0.0
    for template in templates:
        text = pb.EncodeTextRequest(texts=[template.replace("{}", "cat")])
        mean = mean + floats((await stub.EncodeText(text)).embeddings[0]) / len(templates)
    assert 0 < np.linalg.norm(mean) < 0.999
    seen = floats((await stub.EncodeImage(pb.EncodeImageRequest(images=[jpeg()]))).embeddings[0])
    request = pb.ClassifyRequest(images=[jpeg()], labels=["dog", "cat"], prompt_templates=templates)
    scores = {score.label: score for score in (await stub.Classify(request)).classifications[0].scores}
    assert scores["cat"].cosine == pytest.approx(float(mean @ seen / np.linalg.norm(mean)), abs=1e-6)
    assert sum(score.probability for score in scores.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("request_", "field", "text"),
    [
        (pb.EncodeTextRequest(), "texts", "0 given, 1 to 4 are allowed"),
        (pb.EncodeTextRequest(texts=["a"] * 5), "texts", "5 given, 1 to 4 are allowed"),
        (pb.EncodeImageRequest(), "images", "0 given, 1 to 3 are allowed"),
        (pb.EncodeImageRequest(images=[b"a"] * 4), "images", "4 given, 1 to 3 are allowed"),
        (pb.EncodeImageRequest(raw=pb.RawPixels()), "raw.count", "0 given"),
        (pb.EncodeImageRequest(raw=pb.RawPixels(count=4)), "raw.count", "4 given, 1 to 3 are allowed"),
        (pb.EncodeImageRequest(raw=pb.RawPixels(count=2, rgb=b"1")), "raw.rgb", "1 bytes, .* have 384"),
        (pb.EncodeImageRequest(images=[b"a"], raw=pb.RawPixels(count=1)), "raw", "together with images"),
        (pb.ClassifyRequest(labels=["a"]), "images", "0 given"),
        (pb.ClassifyRequest(images=[b"a"]), "labels", "0 given, 1 to 3 are allowed"),
        (pb.ClassifyRequest(images=[b"a"], labels=["a", " "]), r"labels\[1\]", "empty"),
        (
            pb.ClassifyRequest(images=[b"a"], labels=["a", "b", "a"]),
            r"labels\[2\]",
            r"the same as labels\[0\]",
        ),
        (pb.ClassifyRequest(images=[b"a"], labels=["x" * 250]), r"labels\[0\]", "the limit is 200"),
        (
            pb.ClassifyRequest(images=[b"a"], labels=["a"], prompt_template="a photo"),
            "prompt_template",
            "has no {}",
        ),
        (
            pb.ClassifyRequest(images=[b"a"], labels=["a"], prompt_templates=["a {}", "a photo"]),
            r"prompt_templates\[1\]",
            "has no {}",
        ),
        (
            pb.ClassifyRequest(images=[b"a"], labels=["a"], prompt_templates=["a {}", "a {}"]),
            r"prompt_templates\[1\]",
            r"the same as prompt_templates\[0\]",
        ),
        (
            pb.ClassifyRequest(images=[b"a"], labels=["a"], prompt_template="{}", prompt_templates=["a {}"]),
            "prompt_templates",
            "together with prompt_template",
        ),
    ],
)
async def test_a_wrong_request_names_the_field_the_limit_and_the_value(
    stub: Any, request_: Any, field: str, text: str
) -> None:
    method = {
        pb.EncodeTextRequest: stub.EncodeText,
        pb.EncodeImageRequest: stub.EncodeImage,
        pb.ClassifyRequest: stub.Classify,
    }[type(request_)]
    code, message, _ = await refused(method(request_))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert re.match(f"{field}: .*{text}", message), message


async def test_the_callers_deadline_and_cancellation_reach_the_queue(
    stub: Any, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    begun, free = asyncio.Event(), threading.Event()
    seen: list[int] = []
    batcher = encoder.texts.batcher
    run = batcher._run

    def held(items: Sequence[Tokens]) -> Any:
        seen.extend(len(item.ids) for item in items)
        loop.call_soon_threadsafe(begun.set)
        assert free.wait(60)
        return run(items)

    monkeypatch.setattr(batcher, "_run", held)
    running = asyncio.create_task(_text(stub, "a"))
    await begun.wait()
    gone = asyncio.create_task(_text(stub, "a a"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _text(stub, "a a a", timeout=0.1)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    gone.cancel()
    await until(lambda: not len(batcher._entries) - 1)
    free.set()
    await running
    await _text(stub, "a a a a")
    assert seen == [3, 6], "neither the late text of 5 tokens nor the cancelled one of 4 was run"


async def _text(stub: Any, text: str, timeout: float | None = None) -> Any:
    return await stub.EncodeText(pb.EncodeTextRequest(texts=[text]), timeout=timeout)


@pytest.mark.parametrize(
    ("template", "labels", "field", "says"),
    [
        ("{}" * 20_000, ["cat"], "prompt_template", "40000 bytes, the limit is 200"),
        ("{}" * 90, ["abcde"], "labels[0]", "its prompt would have 450 bytes, the limit is 200"),
        ("{} {}", ["a", "\N{GREEK SMALL LETTER ALPHA}" * 80], "labels[1]", "321 bytes, the limit is 200"),
        ("a {}", ["x" * 1_000_000], "labels[0]", "1000002 bytes, the limit is 200"),
        ("a {}", ["a", "b" * 199], "labels[1]", "201 bytes, the limit is 200"),
    ],
)
async def test_prompts_are_bounded_before_one_is_made(stub, jpeg, template, labels, field, says):
    request = pb.ClassifyRequest(images=[jpeg()], labels=labels, prompt_template=template)
    code, message, why = await refused(stub.Classify(request))
    assert (code, why) == (grpc.StatusCode.INVALID_ARGUMENT, "TEXT_TOO_LARGE")
    assert message.startswith(f"{field}: ")
    assert says in message


@pytest.mark.parametrize("method", ["EncodeText", "EncodeImage", "Classify"])
async def test_a_list_with_too_many_elements_is_refused_unparsed(stub, method):
    request = {
        "EncodeText": pb.EncodeTextRequest(texts=[""] * 100_000),
        "EncodeImage": pb.EncodeImageRequest(images=[b""] * 100_000),
        "Classify": pb.ClassifyRequest(images=[b"a"], labels=[""] * 100_000),
    }[method]
    code, message, why = await refused(getattr(stub, method)(request))
    assert (code, why) == (grpc.StatusCode.INVALID_ARGUMENT, "COUNT_OUT_OF_RANGE")
    assert "or more given, at most" in message


async def test_images_that_the_queue_has_no_place_for_are_refused_unread_and_texts_are_not(
    stub, encoder, settings
):
    too_many = pb.EncodeImageRequest(images=[b""] * (settings.max_images + 1))
    with encoder.images.admission.admit(settings.queue_images, 0, math.inf):
        for call in (stub.EncodeImage(too_many), stub.Classify(pb.ClassifyRequest())):
            code, _, why = await refused(call)
            assert (code, why) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")
        await stub.EncodeText(pb.EncodeTextRequest(texts=["a cat"]))
    assert (await refused(stub.EncodeImage(too_many)))[2] == "COUNT_OUT_OF_RANGE"
