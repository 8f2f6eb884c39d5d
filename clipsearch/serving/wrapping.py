"""What the interceptors share: wrapping and timing a unary call, and refusing one before it is read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, cast

import grpc

from clipsearch.serving.errors import ServiceError

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Call: TypeAlias = Callable[[Any, Context], Awaitable[Any]]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]"

HEALTH = "/grpc.health.v1.Health/"


def wrap(handler: Handler | None, around: Callable[[Call], Call]) -> Handler | None:
    """The handler with `around` about its call.

    Leaves alone what answers no single message: unknown methods (None) and the streams of health and
    reflection.
    """
    if handler is None:
        return None
    if handler.unary_unary is not None:
        return grpc.unary_unary_rpc_method_handler(
            around(cast(Call, handler.unary_unary)),  # the stubs know gRPC's threaded servers only
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
    if handler.stream_unary is not None:  # ReceivingInterceptor and `refuse` make these
        return grpc.stream_unary_rpc_method_handler(
            around(cast(Call, handler.stream_unary)), response_serializer=handler.response_serializer
        )
    return handler


def refuse(error: ServiceError) -> Handler:
    """A handler that answers with `error`.

    It claims to take a stream: gRPC calls such a handler before it reads the request, so that refused
    callers cannot make the server take in and decode their bytes.
    """

    async def refused(_requests: Any, _context: Context) -> Any:
        raise error

    return grpc.stream_unary_rpc_method_handler(refused)


async def timed(call: Call, request: Any, context: Context, done: Callable[[str, float], None]) -> Any:
    """Makes the call and tells `done` the name of its status code and the seconds it took."""
    start = time.perf_counter()
    code = "UNKNOWN"  # as gRPC says of an exception that nobody has turned into a status
    try:
        answer = await call(request, context)
        code = _code_name(context)
        return answer
    except grpc.aio.AbortError:
        code = _code_name(context)
        raise
    except asyncio.CancelledError:
        left = context.time_remaining()
        code = "DEADLINE_EXCEEDED" if left is not None and left <= 0 else "CANCELLED"
        raise
    finally:
        done(code, time.perf_counter() - start)


def _code_name(context: Context) -> str:
    code: Any = context.code()  # None or 0 where nothing was set
    return code.name if isinstance(code, grpc.StatusCode) else "OK"
