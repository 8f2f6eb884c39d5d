"""What goes wrong when a service is called, as callers see it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2


class ArgumentError(ValueError):
    """An argument that cannot be sent; the message begins with its name."""


class ArgumentTypeError(ArgumentError, TypeError):
    """An argument of a type that cannot be sent."""


class ClipSearchError(Exception):
    """A call, or one item of a call, that failed.

    `code` is a gRPC code by name (`NOT_FOUND`); `reason` is the service's stable, finer word for it
    (`COLLECTION_NOT_FOUND`); `field` is the path of the field at fault, if one is; `metadata` holds
    the facts by name; `retry_after` is the wait in seconds that the service asked for.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        reason: str = "",
        field: str | None = None,
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(code, message)  # what pickle makes it of again, between processes
        self.code = code
        self.message = message
        self.reason = reason
        self.field = field
        self.metadata = dict(metadata or {})
        self.retry_after = retry_after

    def __str__(self) -> str:
        return self.message

    def about(self, item: str) -> ClipSearchError:
        """The same error, its message led by the item that it happened to.

        The service has called it by its path in the request, which that replaces.
        """
        message = self.message.removeprefix(f"{self.field}: ").removeprefix(f"{item}: ")
        return ClipSearchError(
            self.code,
            f"{item}: {message}",
            reason=self.reason,
            field=item,
            metadata=self.metadata,
            retry_after=self.retry_after,
        )


def from_status(status: status_pb2.Status) -> ClipSearchError:
    """Reads a `google.rpc.Status` and the details that this project's services put into it."""
    info = error_details_pb2.ErrorInfo()
    request = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    retry_after = None
    for detail in status.details:
        if detail.Unpack(retry):
            retry_after = retry.retry_delay.ToNanoseconds() / 1e9
        elif not detail.Unpack(info):
            detail.Unpack(request)
    violations = request.field_violations
    return ClipSearchError(
        code_pb2.Code.Name(status.code),
        status.message,
        reason=info.reason,
        field=violations[0].field if violations else None,
        metadata=info.metadata,
        retry_after=retry_after,
    )


def from_rpc_error(error: grpc.RpcError, server: str) -> ClipSearchError:
    """The error of a failed call. `server` says in words who was called."""
    call = cast(grpc.Call, error)  # what a failed call raises is both; the stubs do not say so
    status = _rich_status(call)
    if status is not None:
        return from_status(status)
    code, details = call.code(), call.details() or call.code().name
    if code is grpc.StatusCode.UNAVAILABLE:
        return ClipSearchError(
            code.name, f"cannot reach the {server} ({details})", reason="SERVER_UNREACHABLE"
        )
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return ClipSearchError(
            code.name, f"the {server} did not answer within the timeout", reason="DEADLINE_EXCEEDED"
        )
    return ClipSearchError(code.name, f"{server}: {details}")


def _rich_status(call: grpc.Call) -> status_pb2.Status | None:
    value = dict(call.trailing_metadata() or ()).get("grpc-status-details-bin")
    try:
        status = status_pb2.Status.FromString(value) if isinstance(value, bytes) else None
    except DecodeError:
        return None
    # Where the two disagree, something between us and the service rewrote one.
    agree = status and status.code == call.code().value[0] and status.message == call.details()
    return status if agree else None
