"""What the encoder's refusals and failures mean for our callers."""

from __future__ import annotations

from typing import TypeVar, cast

import grpc
import structlog
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from clipsearch.serving.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    ServiceError,
    Unavailable,
)

_log = structlog.get_logger(__name__)
# For an encoder that is full without saying for how long: at its limit of concurrent calls.
_RETRY_AFTER_S = 0.5

Detail = TypeVar("Detail", bound=Message)


def item_error(status: status_pb2.Status) -> InvalidArgument:
    """Why one input could not be encoded. Its field is "": the caller knows where the input stands."""
    info = _detail(status, error_details_pb2.ErrorInfo)
    bad = _detail(status, error_details_pb2.BadRequest)
    return InvalidArgument(
        "",
        bad.field_violations[0].description if bad and bad.field_violations else status.message,
        info.reason if info else "NOT_ENCODABLE",
        {name: value for name, value in info.metadata.items() if name != "field"} if info else None,
    )


def log_failure(error: grpc.aio.AioRpcError, address: str, limit_s: float | None) -> None:
    """Tells the operator of a call that failed by more than its caller's deadline or a full queue."""
    code = error.code()
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        if limit_s is not None:
            _log.warning("the encoder is too slow", encoder=address, limit_s=limit_s)
    elif code is not grpc.StatusCode.RESOURCE_EXHAUSTED:
        _log.warning("a call to the encoder failed", encoder=address, code=code.name, details=error.details())


def call_error(error: grpc.aio.AioRpcError, limit_s: float | None) -> ServiceError:
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
