"""Makes the gRPC server, so that no call of an unknown method can end it.

grpc.aio decodes the path of a call that no service has registered in its accepting loop, and a path
that is no UTF-8 ends that loop and the server with it (seen with 1.85.1): one request, before any
authentication, would take the service down. Such calls are answered here instead.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, NoReturn, cast

import grpc
from grpc._cython import cygrpc
from grpc.aio import _server


def make_server(
    interceptors: Sequence[grpc.aio.ServerInterceptor], options: Sequence[tuple[str, int]], most_rpcs: int
) -> grpc.aio.Server:
    """A server for services whose methods are registered, as those of generated code are.

    Past `most_rpcs` calls at once gRPC refuses each by itself, health too: nothing costs less.
    """
    return cast(grpc.aio.Server, _Server(interceptors, options, most_rpcs))


class _Server(_server.Server):
    """grpc.aio's server with another core; the rest of its constructor checks and defaults."""

    def __init__(
        self,
        interceptors: Sequence[grpc.aio.ServerInterceptor],
        options: Sequence[tuple[str, int]],
        most_rpcs: int,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._server = _Core(self._loop, None, (), tuple(interceptors), tuple(options), most_rpcs)


class _Core(cygrpc.AioServer):  # type: ignore[misc]
    """Answers calls of methods that are not registered by itself: UNIMPLEMENTED, whatever their path."""

    async def _request_call(self) -> NoReturn:
        loop = asyncio.get_running_loop()
        answering: set[asyncio.Task[None]] = set()  # a loop by itself keeps no task alive
        while True:
            # Raises when the server stops, which the accepting loop expects.
            call = await super()._request_call()
            task = loop.create_task(_refuse(call, loop))
            answering.add(task)
            task.add_done_callback(answering.discard)


async def _refuse(call: Any, loop: asyncio.AbstractEventLoop) -> None:
    context = cygrpc._ServicerContext(call, None, None, loop)
    with contextlib.suppress(Exception):  # `abort` raises by design, and the caller may have gone
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
