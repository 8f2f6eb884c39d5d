"""OpenAI's own Python client on a real Envoy and encoder: the vectors of EncodeText and EncodeImage."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from clipsearch import EncoderClient
from tests.processes import GatewayProcess, ServiceProcess

if TYPE_CHECKING:
    import openai  # takes a second to load

TEXTS = ["a cat", "a cup of coffee", "ein Motorrad"]


@pytest.fixture(scope="module")
def client(encoder: ServiceProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    import openai

    folder = tmp_path_factory.mktemp("gateway")
    with (
        GatewayProcess(folder, "--encoder", encoder.address, "--server", encoder.address) as gateway,
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none") as client,
    ):
        yield client


@pytest.mark.parametrize("encoding", [None, "float", "base64"])
def test_texts_and_images_have_the_vectors_of_the_encoder(client, encoder, photos: list[Path], encoding):
    images = [path.read_bytes() for path in photos[:3]]
    uris = [f"data:image/png;base64,{base64.b64encode(data).decode()}" for data in images]
    with EncoderClient(encoder.address) as plain:
        expected = np.concatenate([plain.encode_texts(TEXTS), plain.encode_images(images)])
    asked = {} if encoding is None else {"encoding_format": encoding}
    answer = client.embeddings.create(model="starter", input=[*TEXTS, *uris], dimensions=512, **asked)
    assert [one.index for one in answer.data] == [0, 1, 2, 3, 4, 5]
    given = [one.embedding for one in answer.data]
    if encoding == "base64":  # who asks for it gets it as it is; else the client decodes it
        given = [np.frombuffer(base64.b64decode(one), "<f4") for one in given]
    cosines = np.sum(np.array(given, np.float32) * expected, axis=1)
    np.testing.assert_allclose(cosines, 1.0, atol=1e-6)
    assert (answer.model, answer.usage.total_tokens > len(TEXTS)) == ("starter", True)


def test_the_model_is_listed(client):
    assert [one.id for one in client.models.list()] == ["starter"]


def test_its_errors_are_those_that_the_client_knows(client):
    import openai

    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model="starter", input=["a cat", " "])
    error = caught.value
    assert (error.code, error.param, error.type) == ("TEXT_EMPTY", "input[1]", "INVALID_ARGUMENT")
    assert error.request_id == error.body["request_id"]
    with pytest.raises(openai.BadRequestError, match="text-embedding-3-small"):
        client.embeddings.create(model="text-embedding-3-small", input="a cat")
