"""What qdrant-client raises, as our errors."""

from __future__ import annotations

import grpc
from google.rpc import code_pb2
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse

from clipsearch.serving.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    ServiceError,
    Unavailable,
)

_BUSY_RETRY_S = 1.0
_DISK_RETRY_S = 30.0
_DISK_FULL = "no space left on device"
# Set on answers by proxies and by Qdrant's cloud when a disk is full.
_DISK_FULL_HEADER = "qdrant-insufficient-storage"
# What gRPC says of a handshake that failed, and what that means for whoever set the address.
_TLS_FAULTS = {
    "certificate_verify_failed": "the certificate of the store is not signed by a trusted CA",
    "hostname verification": "the certificate of the store is for another name",
    "hostname mismatch": "the certificate of the store is for another name",
    "peer name": "the certificate of the store is for another name",
    "wrong_version_number": "the store does not speak TLS on this port",
    "ssl_error_ssl": "the TLS handshake with the store failed",
}


class StoreRefuses(Unavailable):
    """The store answers that it will not serve this service as it is set up; no other node will either."""


class StoreUnsettled(Unavailable):
    """A node answers that it cannot do it now: another that it needs is away, comes or goes."""


class StoreDataLoss(ServiceError):
    """The store has found data of its own to be damaged."""

    code = code_pb2.DATA_LOSS


def check_done(done: bool) -> None:
    """Raises DeadlineExceeded: a server told to wait may give up waiting; the write goes on there."""
    if not done:
        raise DeadlineExceeded("the store has taken the write, but not finished it in time")


def store_error(error: grpc.aio.AioRpcError | ResourceExhaustedResponse, collection: str) -> ServiceError:
    """What a server answers, or gRPC where no answer came, as ours.

    INTERNAL is what a healthy node says while a peer is going or coming ("1 of 1 read operations
    failed", "Local shard 0 not found"): for callers the store is unavailable, and another node may answer.
    """
    if isinstance(error, ResourceExhaustedResponse):
        return ResourceExhausted("the store is busy", "STORE_BUSY", retry_after_s=error.retry_after_s)
    details = error.details() or ""
    words = details.lower()
    headers = {key for key, _ in (*(error.initial_metadata() or ()), *(error.trailing_metadata() or ()))}
    if _DISK_FULL in words or _DISK_FULL_HEADER in headers:
        return ResourceExhausted("the store's disk is full", "STORE_DISK_FULL", _DISK_RETRY_S)
    match error.code():
        case grpc.StatusCode.ALREADY_EXISTS:
            return AlreadyExists("collection", collection)
        case grpc.StatusCode.INVALID_ARGUMENT if "already exists" in words:
            return AlreadyExists("collection", collection)
        case grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.OUT_OF_RANGE:
            return InvalidArgument("request", f"the store refuses it: {details}", "STORE_REFUSED")
        case grpc.StatusCode.NOT_FOUND:
            return NotFound("collection", collection)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded("the store did not answer in time")
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return ResourceExhausted("the store is busy", "STORE_BUSY", retry_after_s=_BUSY_RETRY_S)
        case grpc.StatusCode.FAILED_PRECONDITION:
            return FailedPrecondition(f"the store does not do this now: {details}", "STORE_LOCKED")
        case grpc.StatusCode.DATA_LOSS:
            return StoreDataLoss(f"the store's data is damaged: {details}", "STORE_DATA_LOSS")
        case grpc.StatusCode.UNIMPLEMENTED:
            return FailedPrecondition(f"the Qdrant server is too old: {details}", "STORE_TOO_OLD")
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            return StoreRefuses("store", f"the store refuses this service's API key: {details}")
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED:  # by the server, as it goes
            problem = next((said for sign, said in _TLS_FAULTS.items() if sign in words), None)
            if problem:
                return StoreRefuses("store", problem)
            return Unavailable("store", "the store cannot be reached")
    return StoreUnsettled("store", f"the store cannot do it now: {details}")
