"""OpenAI's embeddings API over a real channel, on the toy bundle: what it takes, answers and refuses."""

from __future__ import annotations

import base64
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import json_format
from google.rpc import error_details_pb2
from numpy.typing import NDArray

from clipsearch.encoder.v1 import encoder_pb2, encoder_pb2_grpc, openai_pb2_grpc
from clipsearch.encoder.v1 import openai_pb2 as pb
from clipsearch.serving.calls import CallInterceptor
from encoder_service import openai
from encoder_service.__main__ import encoder_services
from encoder_service.loading import open_encoder
from encoder_service.settings import EncoderSettings
from tests.ports import OWN_PORT
from tests.unit.clipsearch.serving.served import detail, requests

Vector = NDArray[np.float32]
Jpeg = Callable[..., bytes]

# One byte more than is allowed.
LARGE = base64.b64encode(bytes(1026)).decode()


@pytest.fixture
async def channel(toy_bundle: Path) -> AsyncIterator[grpc.aio.Channel]:
    settings = EncoderSettings(
        model=toy_bundle,
        max_batch=8,
        max_batch_tokens=128,
        max_images=2,
        max_texts=4,
        max_image_bytes=1025,
    )
    async with open_encoder(settings) as encoder:
        server = grpc.aio.server(options=OWN_PORT, interceptors=[CallInterceptor(requests())])
        for service in encoder_services(encoder, settings):
            service.add(server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as opened:
            yield opened
        await server.stop(None)


@pytest.fixture
def ask(channel: grpc.aio.Channel) -> Callable[..., Any]:
    """Sends a body as JSON would have it, and gives the answer as JSON."""
    stub = openai_pb2_grpc.OpenAIServiceStub(channel)

    async def asked(input: Any, **more: Any) -> dict[str, Any]:
        request = json_format.ParseDict({"input": input, **more}, pb.CreateEmbeddingsRequest())
        answer = await stub.CreateEmbeddings(request)
        return json_format.MessageToDict(answer, preserving_proto_field_name=True)

    return asked


@pytest.fixture
def plain(channel: grpc.aio.Channel) -> Callable[..., Any]:
    """The vectors that EncodeText and EncodeImage give."""
    stub = encoder_pb2_grpc.EncoderServiceStub(channel)

    async def encoded(*inputs: str | bytes) -> list[Vector]:
        vectors = []
        for one in inputs:
            if isinstance(one, str):
                answer = await stub.EncodeText(encoder_pb2.EncodeTextRequest(texts=[one]))
            else:
                answer = await stub.EncodeImage(encoder_pb2.EncodeImageRequest(images=[one]))
            vectors.append(np.array(answer.embeddings[0].vector.values, np.float32))
        return vectors

    return encoded


def as_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def vectors(answer: dict[str, Any]) -> list[Vector]:
    return [np.array(one["embedding"], np.float32) for one in answer["data"]]


async def test_texts_and_images_come_back_in_order_with_the_vectors_of_the_encoder(ask, plain, jpeg: Jpeg):
    red, blue = jpeg(), jpeg((0, 0, 255))
    answer = await ask(
        [
            "a cat",
            f"data:image/jpeg;base64,{as_base64(red)}",
            {"text": "data:image/jpeg;base64,AAAA"},
            {"image": as_base64(blue)},
            {"text": "a dog"},
        ]
    )
    expected = await plain("a cat", red, "data:image/jpeg;base64,AAAA", blue, "a dog")
    np.testing.assert_allclose(vectors(answer), expected, atol=1e-6)  # batches of other sizes round otherwise
    assert [one.get("index", 0) for one in answer["data"]] == [0, 1, 2, 3, 4]
    assert (answer["object"], answer["data"][0]["object"], answer["model"]) == ("list", "embedding", "toy")


async def test_a_single_input_needs_no_list(ask, plain):
    answer = await ask("a cat", model="toy", encoding_format="float", dimensions=16, user="me")
    np.testing.assert_array_equal(vectors(answer), await plain("a cat"))


async def test_base64_is_the_same_numbers(ask, plain):
    answer = await ask(["a cat"], encoding_format="base64")
    numbers = np.frombuffer(base64.b64decode(answer["data"][0]["embedding"]), "<f4")
    np.testing.assert_array_equal([numbers], await plain("a cat"))


async def test_large_calls_are_read_and_answered_beside_the_event_loop(ask, jpeg: Jpeg, monkeypatch):
    threads = []
    for name in ("_input", "_embedding"):

        def noted(*arguments, do=getattr(openai, name)):
            threads.append(threading.current_thread())
            return do(*arguments)

        monkeypatch.setattr(openai, name, noted)
    await ask("a cat")
    assert threads == [threading.current_thread()] * 2
    threads.clear()
    monkeypatch.setattr(openai, "_SMALL", 100)  # bytes, as a large image has more of
    await ask(["a cat", {"image": as_base64(jpeg())}])
    assert len(threads) == 4
    assert threading.current_thread() not in threads


async def test_tokens_are_counted_and_what_was_cut_is_said(ask, jpeg: Jpeg):
    answer = await ask(["a cat", "cat " * 20, {"image": as_base64(jpeg())}])
    assert answer["usage"] == {"prompt_tokens": 4 + 12, "total_tokens": 4 + 12}
    assert [one.get("tokens_dropped", 0) for one in answer["data"]] == [0, 10, 0]


async def test_the_model_is_listed(channel: grpc.aio.Channel):
    answer = await openai_pb2_grpc.OpenAIServiceStub(channel).ListModels(pb.ListModelsRequest())
    assert answer.data == [pb.ModelObject(id="toy", object="model", owned_by="clipsearch")]


@pytest.mark.parametrize(
    ("input", "more", "field", "reason", "says"),
    [
        (None, {}, "input", "INVALID_FIELD", "neither a string"),
        ([], {}, "input", "COUNT_OUT_OF_RANGE", "empty"),
        (["a"] * 5, {}, "input", "COUNT_OUT_OF_RANGE", "5 texts, at most 4"),
        ([1] * 7, {}, "input", "COUNT_OUT_OF_RANGE", "7 inputs, at most 6"),  # told before what they are
        ({"image": LARGE}, {}, "input.image", "IMAGE_TOO_LARGE", "1026 bytes, the limit is 1025"),
        ([f"data:image/png;base64,{LARGE}"], {}, "input[0]", "IMAGE_TOO_LARGE", "1026 bytes"),
        ({"image": as_base64(bytes(1025))}, {}, "input.image", "IMAGE_UNSUPPORTED_FORMAT", ""),
        (["data:image/png;base64,"] * 3, {}, "input", "COUNT_OUT_OF_RANGE", "3 images, at most 2"),
        ([[1, 2]], {}, "input[0]", "INVALID_FIELD", "check_embedding_ctx_length=False"),
        ([1, 2], {}, "input[0]", "INVALID_FIELD", "token ids"),
        (["a", " "], {}, "input[1]", "TEXT_EMPTY", ""),
        (["a", {"image": "AAAA"}], {}, "input[1].image", "IMAGE_UNSUPPORTED_FORMAT", ""),
        ({"image": "not base64!"}, {}, "input.image", "INVALID_FIELD", "no base64"),
        ({"image": "é"}, {}, "input.image", "INVALID_FIELD", "no base64"),
        ("data:image/svg+xml,%3Csvg/%3E", {}, "input", "INVALID_FIELD", "without ;base64,"),
        ({"image": "DATA:image/png,AAAA"}, {}, "input.image", "INVALID_FIELD", "without ;base64,"),
        ({"image": "https://example.com/a.jpg"}, {}, "input.image", "INVALID_FIELD", "not fetched"),
        ({"text": "a", "image": "AAAA"}, {}, "input", "INVALID_FIELD", "neither"),
        ({"picture": "AAAA"}, {}, "input", "INVALID_FIELD", "neither"),
        ({"text": 1}, {}, "input", "INVALID_FIELD", "neither"),
        ("a", {"model": "text-embedding-3-small"}, "model", "MODEL_UNKNOWN", "'toy' is"),
        ("a", {"encoding_format": "int8"}, "encoding_format", "INVALID_FIELD", "float and base64"),
        ("a", {"dimensions": 8}, "dimensions", "INVALID_FIELD", "16"),
    ],
)
async def test_what_is_refused_is_named(ask, input, more, field, reason, says):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(input, **more)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    info = detail(caught.value, error_details_pb2.ErrorInfo)
    assert (info.reason, info.metadata["field"]) == (reason, field)
    assert says in caught.value.details()
