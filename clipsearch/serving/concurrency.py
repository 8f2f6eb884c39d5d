"""How many calls may be in progress at once; health is asked beside them and never refused."""

from __future__ import annotations

import time
from typing import Any

import grpc

from clipsearch.serving.errors import ResourceExhausted
from clipsearch.serving.wrapping import HEALTH, Call, Context, Continuation, Handler, refuse, wrap

# Weight of the newest call in the mean time of a call.
_NEWEST = 0.05
_SHORTEST_RETRY_S = 0.05


class ConcurrencyInterceptor(grpc.aio.ServerInterceptor):
    """Refuses calls past `limit`, before their request is read where that is known by then.

    gRPC's own `maximum_concurrent_rpcs` would refuse health checks too, and without RetryInfo.
    """

    def __init__(self, limit: int) -> None:
        self.in_progress = 0
        """Calls that are being answered."""
        self._limit = limit
        self._mean_s = 0.0

    async def intercept_service(  # noqa: D102
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith(HEALTH):
            return handler
        if self.in_progress >= self._limit:
            return refuse(self._full())
        return wrap(handler, self._counted)

    def _counted(self, call: Call) -> Call:
        async def counted(request: Any, context: Context) -> Any:
            if self.in_progress >= self._limit:  # others came while the request was read
                raise self._full()
            self.in_progress += 1
            start = time.monotonic()
            try:
                return await call(request, context)
            finally:
                self.in_progress -= 1
                self._mean_s += _NEWEST * (time.monotonic() - start - self._mean_s)

        return counted

    def _full(self) -> ResourceExhausted:
        return ResourceExhausted(
            f"{self.in_progress} calls are in progress, the limit is {self._limit}",
            "TOO_MANY_CALLS",
            retry_after_s=max(_SHORTEST_RETRY_S, self._mean_s),
        )
