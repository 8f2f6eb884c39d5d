"""Real servers on port 0 that answer every RPC of the API, behind the interceptors of a test's choice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_health.v1 import health, health_pb2_grpc
from grpc_status import rpc_status

from clipsearch.serving.calls import CallInterceptor
from clipsearch.serving.lifecycle import ARRIVING
from clipsearch.serving.receiving.arrivals import Arrivals
from clipsearch.serving.receiving.requests import Requests
from clipsearch.serving.reflection import add_reflection
from clipsearch.serving.security.tokens import Grant, create_token, line, sha256
from clipsearch.serving.settings import MIB
from tests.fuzz.rpcs import ENCODER, by_path, path, request_class, response_class, services
from tests.fuzz.rpcs import SEARCH as SEARCH_PROCESS
from tests.ports import OWN_PORT
from tests.waiting import HANGS_S

SERVICES: list[ServiceDescriptor] = [*services(ENCODER), *services(SEARCH_PROCESS)]
METHODS: list[MethodDescriptor] = [method for service in SERVICES for method in service.methods]
GET_MODEL = "/clipsearch.encoder.v1.EncoderService/GetModel"
SEARCH = "/clipsearch.search.v1.SearchService/Search"

Answer = Callable[[Any, Any], Any]


@dataclass
class Running:
    """A server that answers every RPC, with an empty message unless `answers` says otherwise."""

    port: int = 0
    answers: dict[str, Answer] = field(default_factory=dict)
    decoded: list[str] = field(default_factory=list)
    health: health.aio.HealthServicer = field(default_factory=health.aio.HealthServicer)
    channel: grpc.aio.Channel = field(init=False)
    """To it, in plain text."""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        return [
            grpc.method_handlers_generic_handler(
                service.full_name, {method.name: self._handler(method) for method in service.methods}
            )
            for service in SERVICES
        ]

    def _handler(self, method: MethodDescriptor) -> grpc.RpcMethodHandler:
        name = path(method)
        response = response_class(method)

        def decode(data: bytes) -> Message:
            self.decoded.append(name)
            return request_class(method).FromString(data)

        async def answer(request: Message, context: Any) -> Message:
            if name in self.answers:
                return await self.answers[name](request, context) or response()
            return response()

        return grpc.unary_unary_rpc_method_handler(
            answer, request_deserializer=decode, response_serializer=response.SerializeToString
        )


def requests(
    budget: int = 256 * MIB, limit_s: float = 60.0, most_elements: Mapping[str, int] | None = None
) -> Requests:
    """What takes requests in, as both services have it."""
    return Requests(Arrivals(budget, limit_s), budget, most_elements or {})


@asynccontextmanager
async def running(
    calls: CallInterceptor | None = None,
    *,
    outside: Sequence[grpc.aio.ServerInterceptor] = (),
    credentials: grpc.ServerCredentials | None = None,
    port: int = 0,
) -> AsyncIterator[Running]:
    """A server whose calls `calls` takes; by default with no guard and wide limits."""
    it = Running()
    server = grpc.aio.server(
        interceptors=[*outside, calls or CallInterceptor()],
        options=[*OWN_PORT, *ARRIVING, ("grpc.max_receive_message_length", 64 * MIB)],
    )
    server.add_generic_rpc_handlers(it.handlers())
    health_pb2_grpc.add_HealthServicer_to_server(it.health, server)
    add_reflection(server, [service.full_name for service in SERVICES])
    if credentials is None:
        it.port = server.add_insecure_port(f"127.0.0.1:{port}")
    else:
        it.port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        async with grpc.aio.insecure_channel(it.address) as it.channel:
            yield it
    finally:
        await server.stop(None)


async def call(
    channel: grpc.aio.Channel,
    name: str = GET_MODEL,
    request: Message | None = None,
    *,
    token: str | None = None,
    metadata: Sequence[tuple[str, str]] = (),
    timeout: float | None = HANGS_S,
    compression: grpc.Compression | None = None,
) -> Message:
    method = by_path(name)
    request = request or request_class(method)()
    send = channel.unary_unary(
        name,
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=response_class(method).FromString,
    )
    shown = [("authorization", f"Bearer {token}")] if token else []
    return await send(request, metadata=[*shown, *metadata], timeout=timeout, compression=compression)


async def refusal(*arguments: Any, **options: Any) -> tuple[grpc.StatusCode, str]:
    """Status and reason of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(*arguments, **options)
    info = detail(caught.value, error_details_pb2.ErrorInfo)
    return caught.value.code(), info.reason if info else ""


def detail(error: grpc.aio.AioRpcError, kind: type) -> Any:
    status = rpc_status.from_call(error)
    for packed in status.details if status else ():
        found = kind()
        if packed.Unpack(found):
            return found
    return None


@dataclass(frozen=True)
class TokenMaker:
    """A tokens file to write into."""

    path: Path

    def add(self, name: str, *scopes: str, **more: Any) -> str:
        """Adds a line and returns its token."""
        token = create_token()
        self.write(Grant(name=name, sha256=sha256(token), scopes=scopes, **more))
        return token

    def write(self, grant: Grant) -> None:
        with self.path.open("a") as file:
            file.write(line(grant) + "\n")
