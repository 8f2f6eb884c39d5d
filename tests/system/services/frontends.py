"""Callers of an encoder with several front ends: a connection each, so that the kernel can spread them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from clipsearch.connection import channel_arguments
from clipsearch.encoder.v1 import encoder_pb2_grpc
from tests.processes import ServiceProcess


@asynccontextmanager
async def connections(address: str, count: int, retries: bool = False) -> AsyncIterator[list[Any]]:
    """Stubs with a connection of their own. `retries` as the project's clients make them, or none."""
    options: list[tuple[str, Any]] = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
    if retries:
        options += channel_arguments(address)
    async with AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(address, options)) for _ in range(count)
        ]
        yield [encoder_pb2_grpc.EncoderServiceStub(channel) for channel in channels]


def front_ends(service: ServiceProcess) -> list[int]:
    """Process ids of a service's front ends."""
    return [int(pid) for pid in Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    """Whether a process runs; one that is only waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
