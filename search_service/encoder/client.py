"""Texts and images to the encoder, vectors back, and what its refusals mean here; no other file calls it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar, cast

import grpc
import numpy as np
import structlog
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from clipsearch.batches import batched
from clipsearch.channel.connection import aio_channel
from clipsearch.channel.credentials import ClientTls, bearer
from clipsearch.encoder.v1 import encoder_pb2, vector_pb2
from clipsearch.serving.current_call import forwarded
from clipsearch.serving.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    ServiceError,
    Unavailable,
)
from clipsearch.serving.together import together
from search_service.deadline import time_left
from search_service.encoder.connection import Connection
from search_service.stores.protocol import Vector

# What one call carries at most, within the encoder's default limits. Longer lists go in several
# calls at once, which also spreads them over the encoder's replicas.
TEXTS_A_CALL = 256
IMAGES_A_CALL = 32
BYTES_A_CALL = 32 * 1024 * 1024

# For an encoder that is full without saying for how long: at its limit of concurrent calls.
_RETRY_AFTER_S = 0.5

_log = structlog.get_logger(__name__)
_F32 = vector_pb2.VECTOR_FORMAT_F32_BYTES
Request = TypeVar("Request")
Response = TypeVar("Response")
Detail = TypeVar("Detail", bound=Message)


@dataclass(frozen=True, slots=True)
class Model:
    """The encoder's model."""

    name: str
    fingerprint: str
    dimension: int


@dataclass(frozen=True, slots=True)
class Encoded:
    """A vector, float32 [dimension], of length 1, and how many tokens its text lost."""

    vector: Vector
    tokens_dropped: int = 0


# The error's field is "": only the caller knows where in its request the input stands.
Outcome: TypeAlias = Encoded | InvalidArgument


@dataclass(frozen=True, slots=True)
class Encoding:
    """One outcome a text and one an image, in order, and the space that the vectors belong to.

    `weak_match_below`: the model's bound for cosines of texts to images; 0 = not known.
    """

    texts: list[Outcome]
    images: list[Outcome]
    fingerprint: str
    weak_match_below: float = 0.0


class EncoderClient(Connection):
    """Calls the encoder service at `address` (host:port, or any gRPC target).

    No call waits longer than `timeout_s`. A connection is made at its first call, and again whenever
    it is lost; `interceptors` see every call, `token` is shown at each. `tls` None = plaintext.

    Calls raise Unavailable("encoder"), ResourceExhausted, DeadlineExceeded and, if the encoder refuses
    or fails, FailedPrecondition or ServiceError.
    """

    def __init__(
        self,
        address: str,
        timeout_s: float,
        interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
        token: str | None = None,
        tls: ClientTls | None = None,
    ) -> None:
        """Raises CredentialsError and AddressError."""
        super().__init__(lambda: aio_channel(address, interceptors, tls), tls)
        self._address = address
        self._timeout_s = timeout_s
        self._shown = bearer(token)

    async def ping(self) -> None:
        """Returns if the encoder answers. Logs no failure: it is asked all the time."""
        request = encoder_pb2.GetModelRequest()
        try:
            await self.stub.GetModel(request, timeout=self._timeout_s, metadata=self._shown)
        except grpc.aio.AioRpcError as error:
            # A full encoder answers; health that gave up for it would take the searches of all away.
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise _call_error(error, self._timeout_s) from None

    async def model(self) -> Model:
        """The model that is loaded."""
        answer = await self._call(self.stub.GetModel, encoder_pb2.GetModelRequest())
        return Model(answer.name, answer.fingerprint, answer.dimension)

    async def encode(self, texts: Sequence[str], images: Sequence[bytes]) -> Encoding:
        """Encodes texts and images, at least one of either."""
        answers = await together(
            [self._encode_texts(batch) for batch in batched(texts, TEXTS_A_CALL, BYTES_A_CALL)]
            + [self._encode_images(batch) for batch in batched(images, IMAGES_A_CALL, BYTES_A_CALL)]
        )
        fingerprints = {answer.fingerprint for answer in answers}
        if len(fingerprints) > 1:
            raise Unavailable(
                "encoder",
                "replicas of the encoder answered with different models "
                f"({', '.join(sorted(fingerprints))}); try again when all of them run one",
            )
        return Encoding(
            texts=[outcome for answer in answers for outcome in answer.texts],
            images=[outcome for answer in answers for outcome in answer.images],
            fingerprint=fingerprints.pop(),
            weak_match_below=max(answer.weak_match_below for answer in answers),
        )

    async def _encode_texts(self, texts: list[str]) -> Encoding:
        request = encoder_pb2.EncodeTextRequest(texts=texts, format=_F32)
        answer = await self._call(self.stub.EncodeText, request)
        outcomes = _outcomes(answer.embeddings, len(texts))
        return Encoding(outcomes, [], answer.fingerprint, answer.weak_match_below)

    async def _encode_images(self, images: list[bytes]) -> Encoding:
        request = encoder_pb2.EncodeImageRequest(images=images, format=_F32)
        answer = await self._call(self.stub.EncodeImage, request)
        return Encoding([], _outcomes(answer.embeddings, len(images)), answer.fingerprint)

    async def _call(
        self, method: grpc.aio.UnaryUnaryMultiCallable[Request, Response], request: Request
    ) -> Response:
        timeout_s = time_left(self._timeout_s)
        try:
            return await method(request, timeout=timeout_s, metadata=(*self._shown, *forwarded()))
        except grpc.aio.AioRpcError as error:
            # Our own limit ran out, not the caller's: the encoder is to blame, and the caller may try again.
            limit_s = timeout_s if timeout_s == self._timeout_s else None
            failure = _call_error(error, limit_s)
            if not isinstance(failure, DeadlineExceeded | ResourceExhausted):
                code, details = error.code().name, error.details()
                _log.warning(
                    "a call to the encoder failed", encoder=self._address, code=code, details=details
                )
            raise failure from None


def _outcomes(embeddings: Sequence[encoder_pb2.Embedding], expected: int) -> list[Outcome]:
    if len(embeddings) != expected:
        raise Unavailable("encoder", f"the encoder answered {len(embeddings)} of {expected} inputs")
    return [
        _item_error(embedding.error)
        if embedding.HasField("error")
        else Encoded(np.frombuffer(embedding.vector.f32, dtype="<f4"), embedding.text.tokens_dropped)
        for embedding in embeddings
    ]


def _item_error(status: status_pb2.Status) -> InvalidArgument:
    """Why one input could not be encoded, by the encoder's field: the caller knows where the input stands."""
    info = _detail(status, error_details_pb2.ErrorInfo) or error_details_pb2.ErrorInfo(reason="NOT_ENCODABLE")
    field = info.metadata.get("field", "")
    return InvalidArgument(field, status.message, info.reason, info.metadata)


def _call_error(error: grpc.aio.AioRpcError, limit_s: float | None) -> ServiceError:
    """Why a whole call failed. `limit_s` is set if it ran under our time limit, not under the caller's."""
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return _full(error, details)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        if limit_s is None:
            return DeadlineExceeded("the deadline passed while the encoder was at work")
        return Unavailable("encoder", f"the encoder did not answer within {limit_s:g} s")
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        # Not the caller's credentials but ours: only an operator can set that right.
        return Unavailable("encoder", "the encoder refuses this service's credentials")
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        # gRPC's own details hold addresses, which are not the caller's business.
        return Unavailable("encoder", "the encoder does not answer; it is down, starting or draining")
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        # Its limits are tighter than our batches: whoever runs both has to set this right.
        return FailedPrecondition(f"the encoder refuses the batch: {details}", "ENCODER_REFUSED")
    return ServiceError(f"the encoder failed with {code.name}: {details}", "ENCODER_FAILED")


def _full(error: grpc.aio.AioRpcError, details: str) -> ResourceExhausted:
    status = rpc_status.from_call(cast(grpc.Call, error))  # typed for the synchronous API only
    retry = _detail(status, error_details_pb2.RetryInfo) if status else None
    info = _detail(status, error_details_pb2.ErrorInfo) if status else None
    return ResourceExhausted(
        f"the encoder is full: {details}",
        info.reason if info else "ENCODER_FULL",
        retry.retry_delay.ToMilliseconds() / 1000 if retry else _RETRY_AFTER_S,
    )


def _detail(status: status_pb2.Status, kind: type[Detail]) -> Detail | None:
    found = kind()
    for packed in status.details:
        if packed.Unpack(found):
            return found
    return None
