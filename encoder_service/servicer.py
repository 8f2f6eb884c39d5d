"""The gRPC face of the encoder: proto in, domain, proto out; nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np

from clipsearch.encoder.v1 import encoder_pb2 as pb
from clipsearch.encoder.v1 import encoder_pb2_grpc, vector_pb2
from clipsearch.serving.errors import InvalidArgument, to_status
from encoder_service.classify import DEFAULT_TEMPLATE, LabelScore, check_prompts, classify
from encoder_service.encoder import Encoded, Encoder, Outcome
from encoder_service.inputs.images import ImageInput
from encoder_service.settings import EncoderSettings

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["EncoderService"].full_name

Context = grpc.aio.ServicerContext[Any, Any]


class EncoderServicer(encoder_pb2_grpc.EncoderServiceServicer):
    """Answers the four RPCs with one encoder, within the request limits of the settings."""

    def __init__(self, encoder: Encoder, settings: EncoderSettings) -> None:
        self._encoder = encoder
        self._settings = settings

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:  # noqa: N802
        """Describes the loaded model."""
        manifest, running = self._encoder.manifest, self._encoder.running
        return pb.GetModelResponse(
            name=manifest.name,
            fingerprint=manifest.fingerprint,
            dimension=manifest.dimension,
            image_size=manifest.image.size,
            context_length=manifest.text.context_length,
            precision=running.image_precision,
            text_precision=running.text_precision,
            provider=running.provider,
            pretrained=manifest.pretrained,
            logit_scale=manifest.logit_scale,
            logit_bias=manifest.logit_bias,
            weak_match_below=manifest.weak_match_below,
            license=manifest.license,
        )

    async def EncodeText(self, request: pb.EncodeTextRequest, context: Context) -> pb.EncodeTextResponse:  # noqa: N802
        """Encodes texts."""
        _check_format(request.format)
        _check_count("texts", len(request.texts), self._settings.max_texts)
        outcomes = await self._encoder.encode_texts(list(request.texts))
        return pb.EncodeTextResponse(
            embeddings=[_embedding(outcome, request.format) for outcome in outcomes],
            fingerprint=self._encoder.manifest.fingerprint,
            timings=_timings(outcomes),
            weak_match_below=self._encoder.manifest.weak_match_below,
        )

    async def EncodeImage(self, request: pb.EncodeImageRequest, context: Context) -> pb.EncodeImageResponse:  # noqa: N802
        """Encodes images, or pixels that the caller has prepared."""
        _check_format(request.format)
        if request.HasField("raw"):
            if request.images:
                raise InvalidArgument("raw", "set together with images; one request has one of them")
            outcomes = await self._encoder.encode_pixels(self._pixels(request.raw))
        else:
            _check_count("images", len(request.images), self._settings.max_images)
            outcomes = await self._encoder.encode_images(list(request.images))
        return pb.EncodeImageResponse(
            embeddings=[_embedding(outcome, request.format) for outcome in outcomes],
            fingerprint=self._encoder.manifest.fingerprint,
            timings=_timings(outcomes),
        )

    async def Classify(self, request: pb.ClassifyRequest, context: Context) -> pb.ClassifyResponse:  # noqa: N802
        """Scores labels against images."""
        settings = self._settings
        _check_count("images", len(request.images), settings.max_images)
        _check_count("labels", len(request.labels), settings.max_labels)
        labels = list(request.labels)
        templates, field = list(request.prompt_templates), "prompt_templates"
        if request.prompt_template and templates:
            raise InvalidArgument(
                "prompt_templates", "together with prompt_template, one of the two is needed"
            )
        if not templates:
            templates, field = [request.prompt_template or DEFAULT_TEMPLATE], "prompt_template"
        _check_count(field, len(templates), settings.max_labels)
        check_prompts(
            field,
            templates,
            labels,
            most=settings.queue_texts,
            most_bytes=settings.max_text_bytes,
            most_bytes_in_all=settings.max_prompt_bytes,
        )
        results = await classify(self._encoder, list(request.images), labels, templates)
        return pb.ClassifyResponse(
            classifications=[_classification(result) for result in results],
            fingerprint=self._encoder.manifest.fingerprint,
        )

    def _pixels(self, raw: pb.RawPixels) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The images of a RawPixels, uint8 [count, size, size, 3]."""
        _check_count("raw.count", raw.count, self._settings.max_images)
        size = self._encoder.manifest.image.size
        expected = raw.count * size * size * 3
        if len(raw.rgb) != expected:
            raise InvalidArgument(
                "raw.rgb",
                f"{len(raw.rgb)} bytes, {raw.count} images of {size} x {size} x 3 have {expected}",
            )
        return np.frombuffer(raw.rgb, dtype=np.uint8).reshape(raw.count, size, size, 3)


def _check_count(field: str, count: int, limit: int) -> None:
    if not 1 <= count <= limit:
        raise InvalidArgument(field, f"{count} given, 1 to {limit} are allowed", "COUNT_OUT_OF_RANGE")


def _check_format(format: vector_pb2.VectorFormat.ValueType) -> None:
    if format not in vector_pb2.VectorFormat.values():
        raise InvalidArgument("format", f"{format} is none of this API's formats")


def _embedding(outcome: Outcome, format: vector_pb2.VectorFormat.ValueType) -> pb.Embedding:
    if isinstance(outcome, InvalidArgument):
        return pb.Embedding(error=to_status(outcome))
    if format == vector_pb2.VECTOR_FORMAT_F32_BYTES:
        vector = vector_pb2.Vector(f32=outcome.vector.astype("<f4", copy=False).tobytes())
    else:
        vector = vector_pb2.Vector(values=outcome.vector.tolist())  # the array itself takes 5 times as long
    done = outcome.input
    if isinstance(done, ImageInput):
        return pb.Embedding(vector=vector, image=_image_input(done))
    return pb.Embedding(
        vector=vector, text=pb.TextInput(tokens=done.tokens, tokens_dropped=done.tokens_dropped)
    )


def _image_input(done: ImageInput) -> pb.ImageInput:
    return pb.ImageInput(
        width=done.width,
        height=done.height,
        format=done.format,
        orientation=done.orientation,
        frames=done.frames,
        mode=done.mode,
        alpha_composited=done.alpha_composited,
        ignored=done.ignored,
    )


def _timings(outcomes: Sequence[Outcome]) -> pb.EncodeTimings:
    encoded = [outcome for outcome in outcomes if isinstance(outcome, Encoded)]
    return pb.EncodeTimings(
        preprocess_ms=1000 * max((item.preprocess_s for item in encoded), default=0.0),
        queue_ms=1000 * max((item.queue_s for item in encoded), default=0.0),
        infer_ms=1000 * max((item.infer_s for item in encoded), default=0.0),
    )


def _classification(result: list[LabelScore] | InvalidArgument) -> pb.Classification:
    if isinstance(result, InvalidArgument):
        return pb.Classification(error=to_status(result))
    return pb.Classification(
        scores=[
            pb.LabelScore(label=score.label, probability=score.probability, cosine=score.cosine)
            for score in result
        ]
    )
