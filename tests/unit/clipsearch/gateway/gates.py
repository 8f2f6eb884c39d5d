"""A real Envoy before servers that answer what a test tells them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
from grpc_health.v1.health_pb2 import HealthCheckResponse

from tests.processes import GatewayProcess
from tests.unit.clipsearch.serving.served import Running, running
from tests.waiting import HANGS_S

COLLECTIONS = "clipsearch.search.v1.CollectionService"


@dataclass
class Gate:
    """The gateway, and the server that stands for both services behind it."""

    server: Running
    process: GatewayProcess
    http: httpx.AsyncClient

    async def error(self, *request: Any, **more: Any) -> tuple[int, dict[str, Any]]:
        """Status and error of a request that must fail."""
        answer = await self.http.request(*request, **more)
        assert answer.headers["content-type"] == "application/json", answer.text
        error = answer.json()["error"]
        assert set(error) == {"type", "code", "message", "param", "request_id", "details"}
        assert error["request_id"] == answer.headers["x-request-id"]
        return answer.status_code, error


@asynccontextmanager
async def gate(
    folder: Path,
    *flags: str,
    credentials: grpc.ServerCredentials | None = None,
    verify: ssl.SSLContext | bool = True,
    **settings: str,
) -> AsyncIterator[Gate]:
    async with running(credentials=credentials) as server:
        await server.health.set(COLLECTIONS, HealthCheckResponse.SERVING)
        address = server.address
        process = GatewayProcess(folder, "--server", address, "--encoder", address, *flags, **settings)
        try:
            await asyncio.to_thread(process.start)
            scheme = "http" if verify is True else "https"
            base = f"{scheme}://{process.address}"
            async with httpx.AsyncClient(base_url=base, verify=verify, timeout=HANGS_S) as http:
                await healthz(http, 200)
                yield Gate(server, process, http)
        finally:
            await asyncio.to_thread(process.stop)


async def healthz(http: httpx.AsyncClient, status: int) -> None:
    """Waits until the gateway says so of itself."""

    async def said() -> bool:
        return (await http.get("/healthz")).status_code == status

    await eventually(said)


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Waits until something that has to be asked for holds."""
    async with asyncio.timeout(HANGS_S):
        while not await holds():  # noqa: ASYNC110 - another process tells no event
            await asyncio.sleep(0.02)
