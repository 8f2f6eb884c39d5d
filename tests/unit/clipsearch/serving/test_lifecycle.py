"""A served process: from bind to drain, in a child process with real signals."""

from __future__ import annotations

import asyncio
import signal
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clipsearch.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from tests.processes import Program

SERVER = textwrap.dedent(
    """
    import asyncio, contextlib, sys
    from pathlib import Path
    from clipsearch.encoder.v1 import encoder_pb2, encoder_pb2_grpc
    from clipsearch.serving.lifecycle import Service, StartError, serve
    from clipsearch.serving.settings import ServingSettings

    class Slow(encoder_pb2_grpc.EncoderServiceServicer):
        async def GetModel(self, request, context):
            print("asked", flush=True)
            await asyncio.sleep(1.0)
            return encoder_pb2.GetModelResponse(name="slow")

    @contextlib.asynccontextmanager
    async def services():
        name = "clipsearch.encoder.v1.EncoderService"
        yield [Service(name, lambda s: encoder_pb2_grpc.add_EncoderServiceServicer_to_server(Slow(), s))]
        print("closed", flush=True)

    grace, _, port, _, port_file = sys.argv[1:]
    settings = ServingSettings(port=int(port), port_file=Path(port_file), drain_grace_s=float(grace))
    try:
        asyncio.run(serve(settings, "toy", services))
    except StartError as error:
        sys.exit(str(error))
    """
)


def toy(folder: Path, grace_s: float = 10.0) -> Program:
    return Program("toy", folder, [sys.executable, "-c", SERVER, str(grace_s)])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Program]:
    process = toy(tmp_path).start()
    yield process
    process.kill()


async def until_logged(process: Program, text: str) -> None:
    async with asyncio.timeout(30):
        while text not in process.text():  # noqa: ASYNC110 - the log is another process's
            await asyncio.sleep(0.01)


async def test_health_is_serving_overall_and_by_name(server):
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", "clipsearch.encoder.v1.EncoderService"):
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_sigterm_lets_calls_in_flight_finish_and_exits_0(server):
    async with grpc.aio.insecure_channel(server.address) as channel:
        call = encoder_pb2_grpc.EncoderServiceStub(channel).GetModel(encoder_pb2.GetModelRequest())
        await until_logged(server, "asked")
        server.signal(signal.SIGTERM)
        assert (await call).name == "slow"
    assert await asyncio.to_thread(server.wait) == 0
    assert "closed" in server.text()


async def test_a_second_signal_stops_at_once(server):
    async with grpc.aio.insecure_channel(server.address) as channel:
        call = encoder_pb2_grpc.EncoderServiceStub(channel).GetModel(encoder_pb2.GetModelRequest())
        await until_logged(server, "asked")
        server.signal(signal.SIGTERM)
        await until_logged(server, "draining")
        server.signal(signal.SIGTERM)
        with pytest.raises(grpc.aio.AioRpcError):
            await call
    assert await asyncio.to_thread(server.wait) == 0


def test_a_port_in_use_is_one_clear_line(server, tmp_path):
    second = toy(tmp_path)
    assert second.launch(server.port).wait(30) == 1
    assert f"cannot listen on {server.address}: the port is in use" in second.text()
