"""A unary call from its headers to its status: one interceptor for all that calls have in common.

When the headers come: who calls, may it, is there room, is there time. Then its request is read, within
bounds of memory, checked if a token is restricted to collections, and answered. What fails on the way becomes
a status; the call is counted, timed and logged.
gRPC would read a unary request before it calls anything here. The handlers claim to take a stream, so they
are called before that, and what is refused costs no more than its headers.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias, cast

import grpc
import structlog
from google.rpc import error_details_pb2

from clipsearch.serving.current_call import begin_call
from clipsearch.serving.deadline import deadline_at
from clipsearch.serving.errors import (
    DeadlineExceeded,
    InvalidArgument,
    ResourceExhausted,
    ServiceError,
    Unavailable,
    to_status,
)
from clipsearch.serving.receiving.arrivals import Arrivals, Context
from clipsearch.serving.receiving.requests import Answers, Requests
from clipsearch.serving.security.auth import Guard
from clipsearch.serving.service import Check, Precheck
from clipsearch.serving.settings import MIB
from clipsearch.serving.telemetry.metrics import CallMetrics, Metrics

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]"

HEALTH = "/grpc.health.v1.Health/"

# Streams, of all callers together. They need no token (health) and end when their caller likes.
MOST_STREAMS = 64
_STREAM_RETRY_S = 1.0
# The request of health's Check: some 50 bytes.
CHECK_ARRIVES_S = 5.0

# Weight of the newest call in the mean time of a call.
_NEWEST = 0.05
_SHORTEST_RETRY_S = 0.05
# A call is on its way for less, but between continents.
_ON_THE_WAY_S = 0.05
_CODES = {code.value[0]: code for code in grpc.StatusCode}

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Method:
    """An RPC: its path, its series in the metrics, what answers its calls, what may refuse them unread."""

    path: str
    metrics: CallMetrics
    answer: Answers
    precheck: Precheck | None


def given_up(left_s: float | None) -> str:
    """The code of a call that its caller ended with so much time left; None = it had no deadline.

    The caller's clock runs from when it sent the call, ours from when it came: who gives up shortly
    before our deadline has met its own.
    """
    return "CANCELLED" if left_s is None or left_s > _ON_THE_WAY_S else "DEADLINE_EXCEEDED"


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Takes the calls of a server; streams are health's and reflection's. Health's Check is never refused.

    At most `limit` unary calls are in progress, and MOST_STREAMS streams. Unary ones that come without a
    deadline get `deadline_s` seconds.
    `guard` None = everybody may call. `trace_id` asks the tracer for the current trace.
    """

    def __init__(
        self,
        requests: Requests | None = None,
        *,
        limit: int = 512,
        deadline_s: float = 60.0,
        guard: Guard | None = None,
        metrics: Metrics | None = None,
        trace_id: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.in_progress = 0
        """Unary calls that arrive or are being answered."""
        self.open_streams = 0
        self.prechecks: dict[str, Precheck] = {}
        """By the full name of the service."""
        self._requests = requests or Requests(Arrivals(256 * MIB, deadline_s), 256 * MIB, {})
        self._limit = limit
        self._deadline_s = deadline_s
        self._guard = guard
        self._metrics = metrics or Metrics()
        self._trace_id = trace_id
        self._mean_s = 0.0
        self._handlers: dict[str, Handler] = {}

    async def intercept_service(  # noqa: D102
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        path = handler_call_details.method
        handler = self._handlers.get(path)
        if handler is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            if handler.unary_unary is None:
                handler = self._stream(handler, path)
            elif path.startswith(HEALTH):
                handler = _prompt(handler)
            else:
                handler = self._unary(handler, path)
            self._handlers[path] = handler
        return handler

    def _unary(self, handler: Handler, path: str) -> Handler:
        # The stubs know gRPC's threaded servers only.
        answers = self._requests.answering(
            path, cast(Any, handler.unary_unary), cast(Any, handler.request_deserializer)
        )
        method = _Method(path, self._metrics.of_method(path), answers, self.prechecks.get(path.split("/")[1]))

        async def call(_requests: Any, context: Context) -> Any:
            return await self._call(method, context)

        return grpc.stream_unary_rpc_method_handler(call, response_serializer=handler.response_serializer)

    def _stream(self, handler: Handler, path: str) -> Handler:
        """A stream, for those who may open it, where there is room for one more; health's, for everybody.

        Its request is read here: waiting for it counts too.
        """
        behaviour = cast(Any, handler.stream_stream or handler.unary_stream)

        async def stream(requests: Any, context: Context) -> None:
            try:
                if self._guard is not None and not path.startswith(HEALTH):
                    self._guard.authorise_stream(path, context.invocation_metadata() or ())
                if self.open_streams >= MOST_STREAMS:
                    problem = f"{self.open_streams} streams are open, the limit is {MOST_STREAMS}"
                    raise ResourceExhausted(problem, "TOO_MANY_CALLS", _STREAM_RETRY_S)
            except ServiceError as error:
                await _abort(context, error)
            self.open_streams += 1
            try:
                answers = behaviour(requests if handler.request_streaming else await context.read(), context)
                if inspect.isawaitable(answers):
                    await answers
                else:
                    async for answer in answers:
                        await context.write(answer)
            finally:
                self.open_streams -= 1

        return grpc.stream_stream_rpc_method_handler(
            stream, handler.request_deserializer, handler.response_serializer
        )

    async def _call(self, method: _Method, context: Context) -> Any:
        start = time.monotonic()
        metadata = context.invocation_metadata() or ()
        current = begin_call(method.path, metadata, self._trace_id())
        method.metrics.begin()
        code = "UNKNOWN"
        try:
            check = None
            if self._guard is not None:
                grant, check = self._guard.authorise(method.path, metadata, context)
                current.caller, current.tenant = grant.name, grant.tenant
            answer = await self._admitted(method, context, check)
            code = "OK"
            return answer
        except grpc.aio.AbortError:
            code = context.code().name
            raise
        except asyncio.CancelledError:
            code = given_up(context.time_remaining())
            raise
        except Exception as error:
            told = error if isinstance(error, ServiceError) else _unexpected(method.path)
            code = _CODES[told.code].name
            method.metrics.failed(told.reason)
            await _abort(context, told, current.request_id)
        finally:
            seconds = time.monotonic() - start
            method.metrics.end(code, seconds)
            _log.debug("call", code=code, seconds=round(seconds, 6))

    async def _admitted(self, method: _Method, context: Context, check: Check | None) -> Any:
        """Answers a call if there is room and time for it."""
        start, left = time.monotonic(), context.time_remaining()
        end = start + (self._deadline_s if left is None else left)
        with deadline_at(end):
            # Before room is made: what is refused anyway must not end another's call.
            if method.precheck is not None:
                method.precheck(method.path.rpartition("/")[2])
            if self.in_progress >= self._limit and not self._requests.give_way():
                raise ResourceExhausted(
                    f"{self.in_progress} calls are in progress, the limit is {self._limit}",
                    "TOO_MANY_CALLS",
                    retry_after_s=max(_SHORTEST_RETRY_S, self._mean_s),
                )
            self.in_progress += 1
            try:
                if left is not None:  # gRPC itself cancels the call at its deadline
                    return await method.answer(context, check)
                return await self._in_default_time(method, context, check, end)
            finally:
                self.in_progress -= 1
                self._mean_s += _NEWEST * (time.monotonic() - start - self._mean_s)

    async def _in_default_time(
        self, method: _Method, context: Context, check: Check | None, end: float
    ) -> Any:
        try:
            async with asyncio.timeout_at(end) as scope:  # the loop's clock is the same
                return await method.answer(context, check)
        except TimeoutError:
            if not scope.expired():
                raise
            raise DeadlineExceeded(
                f"the call set no deadline and took longer than the default of {self._deadline_s:g} s"
            ) from None


def _prompt(handler: Handler) -> Handler:
    """Health's Check, for everybody. Its few bytes come soon, or it would hold a place of gRPC's for ever."""
    check = cast(Any, handler.unary_unary)

    async def call(_requests: Any, context: Context) -> Any:
        try:
            async with asyncio.timeout(CHECK_ARRIVES_S):
                request = await context.read()
        except TimeoutError:
            late = f"the request did not arrive within {CHECK_ARRIVES_S:g} s"
            await _abort(context, DeadlineExceeded(late))
        if request is grpc.aio.EOF:
            await _abort(context, InvalidArgument("request", "missing"))
        return await check(request, context)

    return grpc.stream_unary_rpc_method_handler(
        call, handler.request_deserializer, handler.response_serializer
    )


def _unexpected(method: str) -> ServiceError:
    """What a caller is told of the exception being handled; the log has the rest under the same id."""
    incident = os.urandom(6).hex()
    _log.exception("unexpected error", method=method, incident=incident)
    return ServiceError(f"internal error, incident {incident}", "INTERNAL", {"incident": incident})


async def _abort(context: Context, error: ServiceError, request_id: str = "") -> NoReturn:
    status = to_status(error)
    if request_id:
        status.details.add().Pack(error_details_pb2.RequestInfo(request_id=request_id))
    trailers: list[tuple[str, str | bytes]] = [("grpc-status-details-bin", status.SerializeToString())]
    if isinstance(error, Unavailable) and error.retry_after_s is not None:
        # gRPC in the caller is not to try again by itself what was tried here already. Otherwise retries
        # multiply from hop to hop: four of the caller times four of ours, while the dependency is in trouble.
        # The caller's program may, after the time that RetryInfo says.
        trailers.append(("grpc-retry-pushback-ms", "-1"))
    try:
        await context.abort(_CODES[error.code], error.message, trailing_metadata=tuple(trailers))
    except grpc.aio.InternalError:  # the connection broke before it could be told; gRPC would log a trace
        raise asyncio.CancelledError from None
