"""Embeddings in the shape of OpenAI's API: its JSON in, texts and images to the encoder, its JSON out."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import grpc
import numpy as np
from google.protobuf.struct_pb2 import ListValue, Value
from numpy.typing import NDArray

from clipsearch.encoder.v1 import openai_pb2 as pb
from clipsearch.encoder.v1 import openai_pb2_grpc
from clipsearch.serving.errors import InvalidArgument
from clipsearch.serving.together import together
from encoder_service.encoder import Encoded, Encoder, Outcome
from encoder_service.inputs.texts import TextInput
from encoder_service.settings import EncoderSettings

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["OpenAIService"].full_name

Context = grpc.aio.ServicerContext[Any, Any]

_IMAGE_URI = re.compile(r"data:image/", re.IGNORECASE)
_DATA_URI = re.compile(r"data:image/[^,]{0,100};base64,", re.IGNORECASE)
# Bytes of a request, and vectors of an answer, that cost the event loop less than a thread would.
_SMALL, _FEW = 64 * 1024, 1

# Its path in the request, and a text or an image.
_Input = tuple[str, str | bytes]


class OpenAIServicer(openai_pb2_grpc.OpenAIServiceServicer):
    """Answers with one encoder, within the request limits of the settings."""

    def __init__(self, encoder: Encoder, settings: EncoderSettings) -> None:
        self._encoder = encoder
        self._settings = settings

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:  # noqa: N802
        """The model that is loaded."""
        model = pb.ModelObject(id=self._encoder.manifest.name, object="model", owned_by="clipsearch")
        return pb.ListModelsResponse(object="list", data=[model])

    async def CreateEmbeddings(  # noqa: N802
        self, request: pb.CreateEmbeddingsRequest, context: Context
    ) -> pb.CreateEmbeddingsResponse:
        """Encodes texts and images; the first that cannot be encoded fails the call."""
        self._check(request)
        # Not on the event loop: images of 56 MiB of base64 take 0.17 s, numbers for 256 texts 0.15 s. Two
        # threads took a call of one text from 0.5 to 0.9 ms.
        read = partial(self._inputs, request.input)
        inputs = read() if request.ByteSize() <= _SMALL else await asyncio.to_thread(read)
        encoded = await self._encode(inputs)
        write = partial(self._answer, encoded, request.encoding_format == "base64")
        return write() if len(encoded) <= _FEW else await asyncio.to_thread(write)

    def _answer(self, encoded: Sequence[Encoded], as_base64: bool) -> pb.CreateEmbeddingsResponse:
        tokens = sum(one.input.tokens for one in encoded if isinstance(one.input, TextInput))
        return pb.CreateEmbeddingsResponse(
            object="list",
            data=[_embedding(index, one, as_base64) for index, one in enumerate(encoded)],
            model=self._encoder.manifest.name,
            usage=pb.EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens),
        )

    def _check(self, request: pb.CreateEmbeddingsRequest) -> None:
        manifest = self._encoder.manifest
        if request.model not in ("", manifest.name):
            raise InvalidArgument(
                "model", f"{request.model!r} is not the model here, {manifest.name!r} is", "MODEL_UNKNOWN"
            )
        if request.encoding_format not in ("", "float", "base64"):
            raise InvalidArgument(
                "encoding_format", f"{request.encoding_format!r}, float and base64 are known"
            )
        if request.HasField("dimensions") and request.dimensions != manifest.dimension:
            raise InvalidArgument(
                "dimensions",
                f"{request.dimensions}, this model's vectors have {manifest.dimension} and are not cut",
            )

    def _inputs(self, value: Value) -> list[_Input]:
        """Raises InvalidArgument for too many, and for what is neither a text nor an image, and where."""
        if value.WhichOneof("kind") != "list_value":
            return [_input("input", value)]
        values = value.list_value.values
        most = self._settings.max_texts + self._settings.max_images
        if not values:
            raise InvalidArgument(
                "input", "an empty list, at least one input is needed", "COUNT_OUT_OF_RANGE"
            )
        if len(values) > most:  # before anything is made of them: there may be a million
            raise InvalidArgument(
                "input", f"{len(values)} inputs, at most {most} are allowed", "COUNT_OUT_OF_RANGE"
            )
        return [_input(f"input[{index}]", one) for index, one in enumerate(values)]

    async def _encode(self, inputs: Sequence[_Input]) -> list[Encoded]:
        texts = [content for _, content in inputs if isinstance(content, str)]
        images = [content for _, content in inputs if isinstance(content, bytes)]
        for kind, count, limit in (
            ("texts", len(texts), self._settings.max_texts),
            ("images", len(images), self._settings.max_images),
        ):
            if count > limit:
                raise InvalidArgument(
                    "input", f"{count} {kind}, at most {limit} are allowed", "COUNT_OUT_OF_RANGE"
                )
        work = [
            *([self._encoder.encode_texts(texts)] if texts else []),
            *([self._encoder.encode_images(images)] if images else []),
        ]
        done = await together(work)
        of_texts, of_images = iter(done[0] if texts else []), iter(done[-1] if images else [])
        return [
            _encoded(field, next(of_texts if isinstance(content, str) else of_images))
            for field, content in inputs
        ]


def _input(field: str, value: Value) -> _Input:
    match value.WhichOneof("kind"):
        case "string_value":
            text = value.string_value
            return field, _image(field, text) if _IMAGE_URI.match(text) else text
        case "struct_value" if len(value.struct_value.fields) == 1:
            (name, content) = next(iter(value.struct_value.fields.items()))
            if name in ("text", "image") and content.WhichOneof("kind") == "string_value":
                text = content.string_value
                path = f"{field}.image"
                return (field, text) if name == "text" else (path, _image(path, text))
        case "number_value" | "list_value":
            raise InvalidArgument(
                field,
                "token ids are not taken, send the text itself (LangChain: check_embedding_ctx_length=False)",
            )
    raise InvalidArgument(field, 'neither a string nor {"text": string} nor {"image": string}')


def _image(field: str, text: str) -> bytes:
    """The bytes of a data URI or of plain base64."""
    if re.match(r"https?://", text, re.IGNORECASE):
        raise InvalidArgument(field, "a URL, which is not fetched; send the image as base64")
    start = _DATA_URI.match(text)
    if start is None and _IMAGE_URI.match(text):
        raise InvalidArgument(field, "a data URI without ;base64, before its data")
    encoded = text[start.end() :] if start else text
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:  # ValueError: characters beyond ASCII
        raise InvalidArgument(field, f"no base64: {error}") from None


def _encoded(field: str, outcome: Outcome) -> Encoded:
    if isinstance(outcome, InvalidArgument):
        raise outcome.at(field)
    return outcome


def _embedding(index: int, encoded: Encoded, as_base64: bool) -> pb.EmbeddingObject:
    done = encoded.input
    return pb.EmbeddingObject(
        object="embedding",
        index=index,
        embedding=_numbers(encoded.vector, as_base64),
        tokens_dropped=done.tokens_dropped if isinstance(done, TextInput) else 0,
    )


def _numbers(vector: NDArray[np.float32], as_base64: bool) -> Value:
    if as_base64:
        return Value(string_value=base64.b64encode(vector.astype("<f4", copy=False).tobytes()).decode())
    # Nine digits tell a float32 from all others, and are half of a double's.
    numbers = [Value(number_value=float(f"{number:.9g}")) for number in vector.tolist()]
    return Value(list_value=ListValue(values=numbers))
