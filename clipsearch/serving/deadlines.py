"""A deadline for every call, also where the caller sets none; the services pass on what is left of it."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import grpc

from clipsearch.serving.errors import DeadlineExceeded
from clipsearch.serving.wrapping import HEALTH, Call, Context, Continuation, Handler, wrap


class DeadlineInterceptor(grpc.aio.ServerInterceptor):
    """Gives calls without a deadline `default_s` seconds; `context.time_remaining()` then counts them."""

    def __init__(self, default_s: float) -> None:
        self._default_s = default_s

    async def intercept_service(  # noqa: D102
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        if handler_call_details.method.startswith(HEALTH):
            return handler
        return wrap(handler, self._limit)

    def _limit(self, call: Call) -> Call:
        async def limited(request: Any, context: Context) -> Any:
            if context.time_remaining() is not None:
                return await call(request, context)  # gRPC itself cancels the call at its deadline
            end = asyncio.get_running_loop().time() + self._default_s
            try:
                async with asyncio.timeout_at(end) as scope:
                    return await call(request, cast(Context, _WithDeadline(context, end)))
            except TimeoutError:
                if not scope.expired():
                    raise
                raise DeadlineExceeded(
                    f"the call set no deadline and took longer than the default of {self._default_s:g} s"
                ) from None

        return limited


class _WithDeadline:
    """A call's context, but for its deadline: `end` on the clock of the running loop."""

    def __init__(self, context: Context, end: float) -> None:
        self._context = context
        self._end = end

    def time_remaining(self) -> float:
        return max(0.0, self._end - asyncio.get_running_loop().time())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)
