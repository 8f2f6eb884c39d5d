"""A time limit on the request itself: a caller that never sends it to its end holds nothing for ever.

gRPC reads a unary request before it calls a handler, and waits as long as the connection lives. A
handler that claims to take a stream is called at once and reads by itself, so it can give up.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import grpc

from clipsearch.serving.errors import DeadlineExceeded, InvalidArgument
from clipsearch.serving.wrapping import Call, Context, Continuation, Handler, Unreadable


class ReceivingInterceptor(grpc.aio.ServerInterceptor):
    """Gives the request of a unary call `limit_s` seconds to arrive. Belongs outside of all others."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s

    async def intercept_service(  # noqa: D102
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        return grpc.stream_unary_rpc_method_handler(
            self._received(cast(Call, handler.unary_unary)),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _received(self, call: Call) -> Call:
        async def received(_requests: Any, context: Context) -> Any:
            try:
                async with asyncio.timeout(self._limit_s):
                    request = await context.read()
            except TimeoutError:
                late = f"the request did not arrive within {self._limit_s:g} s"
                request = Unreadable(DeadlineExceeded(late))
            if request is grpc.aio.EOF:
                missing = InvalidArgument("request", "the call brings none", "REQUEST_NOT_DECODABLE")
                request = Unreadable(missing)
            return await call(request, context)

        return received
