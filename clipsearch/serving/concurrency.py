"""How many calls may be in progress at once; health is asked beside them and never refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import grpc

from clipsearch.serving.errors import ResourceExhausted
from clipsearch.serving.wrapping import HEALTH, Call, Context, Continuation, Handler, wrap

# Weight of the newest call in the mean time of a call.
_NEWEST = 0.05
_SHORTEST_RETRY_S = 0.05


class ConcurrencyInterceptor(grpc.aio.ServerInterceptor):
    """Refuses calls past `limit`, when their headers come: those whose request is on its way count.

    gRPC's own `maximum_concurrent_rpcs` would refuse health checks too, and without RetryInfo.
    `give_way` is asked at the limit to end a call that has been sending its request for long.
    """

    def __init__(self, limit: int, give_way: Callable[[], bool] = lambda: False) -> None:
        self.in_progress = 0
        """Calls that arrive or are being answered."""
        self._limit = limit
        self._give_way = give_way
        self._mean_s = 0.0

    async def intercept_service(  # noqa: D102
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        if handler_call_details.method.startswith(HEALTH):
            return handler
        return wrap(handler, self._counted)

    def _counted(self, call: Call) -> Call:
        async def counted(request: Any, context: Context) -> Any:
            if self.in_progress >= self._limit and not self._give_way():
                raise ResourceExhausted(
                    f"{self.in_progress} calls are in progress, the limit is {self._limit}",
                    "TOO_MANY_CALLS",
                    retry_after_s=max(_SHORTEST_RETRY_S, self._mean_s),
                )
            self.in_progress += 1
            start = time.monotonic()
            try:
                return await call(request, context)
            finally:
                self.in_progress -= 1
                self._mean_s += _NEWEST * (time.monotonic() - start - self._mean_s)

        return counted
