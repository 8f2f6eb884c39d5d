"""An id for every call, the caller's own if it sends one, in each line that is logged on its behalf."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import grpc
import structlog

from clipsearch.serving.wrapping import HEALTH, Call, Context, Continuation, Handler, timed, wrap

KEY = "x-request-id"

# Only what can neither forge a line of the log nor flood it.
_ALLOWED = re.compile(r"[A-Za-z0-9_.:/+=-]{1,128}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")

_current: ContextVar[str] = ContextVar("request_id", default="")
_log = structlog.get_logger(__name__)


def request_id() -> str:
    """The id of the call that is being served; "" outside of calls."""
    return _current.get()


def forwarded() -> tuple[tuple[str, str], ...]:
    """Metadata for calls made on behalf of this one, so that the next service logs the same id."""
    current = _current.get()
    return ((KEY, current),) if current else ()


class RequestInterceptor(grpc.aio.ServerInterceptor):
    """Names the call in the log: request_id, method, and trace_id where there is a trace.

    `current_trace_id` asks the tracer; without one the trace id is the caller's, from `traceparent`.
    """

    def __init__(self, current_trace_id: Callable[[], str | None] = lambda: None) -> None:
        self._current_trace_id = current_trace_id

    async def intercept_service(  # noqa: D102
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        method = handler_call_details.method
        if method.startswith(HEALTH):
            return await continuation(handler_call_details)
        given = {key: str(value) for key, value in handler_call_details.invocation_metadata or ()}
        identity = given.get(KEY, "")
        if not _ALLOWED.fullmatch(identity):
            identity = uuid.uuid4().hex
        # gRPC runs each call in a task, and so in a context, of its own.
        _current.set(identity)
        structlog.contextvars.bind_contextvars(request_id=identity, method=method)
        if trace := _TRACEPARENT.fullmatch(given.get("traceparent", "")):
            structlog.contextvars.bind_contextvars(trace_id=trace[1])
        return wrap(await continuation(handler_call_details), self._logged)

    def _logged(self, call: Call) -> Call:
        async def logged(request: Any, context: Context) -> Any:
            if trace_id := self._current_trace_id():
                structlog.contextvars.bind_contextvars(trace_id=trace_id)
            return await timed(call, request, context, _log_call)

        return logged


def _log_call(code: str, seconds: float) -> None:
    _log.debug("call", code=code, seconds=round(seconds, 6))
