"""Turns what a handler raises into a gRPC status, for every call alike."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any, TypeAlias

import grpc
import structlog
from google.rpc import error_details_pb2, status_pb2

from clipsearch.serving.errors import ServiceError, Unavailable, to_status
from clipsearch.serving.telemetry.request_id import request_id
from clipsearch.serving.wrapping import Call, Context, Continuation, Handler, wrap

_log = structlog.get_logger(__name__)
# Hears of each call that failed: the method's path and the error's reason.
OnError: TypeAlias = Callable[[str, str], None]

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """A ServiceError becomes its status; anything unexpected INTERNAL, with an id that the log has too."""

    def __init__(self, on_error: OnError = lambda method, reason: None) -> None:
        self._on_error = on_error

    async def intercept_service(  # noqa: D102
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        return wrap(handler, lambda call: _guard(call, method, self._on_error))


def _guard(call: Call, method: str, on_error: OnError) -> Call:
    async def guarded(request: Any, context: Context) -> Any:
        try:
            return await call(request, context)
        except ServiceError as error:
            on_error(method, error.reason)
            await _abort(context, to_status(error), _trailers(error))
        except grpc.aio.AbortError:
            raise
        except Exception:
            incident = uuid.uuid4().hex[:12]
            _log.exception("unexpected error", method=method, incident=incident)
            internal = ServiceError(
                f"internal error, incident {incident}", "INTERNAL", {"incident": incident}
            )
            on_error(method, internal.reason)
            await _abort(context, to_status(internal))

    return guarded


def _trailers(error: ServiceError) -> tuple[tuple[str, str], ...]:
    """Tells gRPC in the caller not to try again by itself what was tried here already.

    Otherwise retries multiply from hop to hop: four of the caller times four of ours, at a time when
    the dependency is in trouble. The caller's program may, after the time that RetryInfo says.
    """
    if isinstance(error, Unavailable) and error.retry_after_s is not None:
        return (("grpc-retry-pushback-ms", "-1"),)
    return ()


async def _abort(
    context: Context, status: status_pb2.Status, trailers: tuple[tuple[str, str], ...] = ()
) -> None:
    if request_id():
        status.details.add().Pack(error_details_pb2.RequestInfo(request_id=request_id()))
    details = ("grpc-status-details-bin", status.SerializeToString())
    try:
        await context.abort(_CODES[status.code], status.message, trailing_metadata=(details, *trailers))
    except grpc.aio.InternalError:  # the connection broke before it could be told; gRPC would log a trace
        raise asyncio.CancelledError from None
