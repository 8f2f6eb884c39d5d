"""A served process: from bind to drain, in a child process with real signals."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clipsearch.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from tests.waiting import HANGS_S, until

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
            await asyncio.sleep(seconds)
            return encoder_pb2.GetModelResponse(name="slow")

    @contextlib.asynccontextmanager
    async def services():
        name = "clipsearch.encoder.v1.EncoderService"
        yield [Service(name, lambda s: encoder_pb2_grpc.add_EncoderServiceServicer_to_server(Slow(), s))]
        print("closed", flush=True)

    port, port_file, grace = sys.argv[1:4]
    seconds = float(sys.argv[4])
    settings = ServingSettings(port=int(port), port_file=Path(port_file), drain_grace_s=float(grace))
    try:
        asyncio.run(serve(settings, "toy", services))
    except StartError as error:
        sys.exit(str(error))
    """
)


async def start(
    tmp_path: Path, port: int = 0, grace: float = 60.0, seconds: float = 1.0
) -> tuple[asyncio.subprocess.Process, Path]:
    port_file = tmp_path / f"port-{os.urandom(4).hex()}"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SERVER,
        str(port),
        str(port_file),
        str(grace),
        str(seconds),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    return process, port_file


async def address(process: asyncio.subprocess.Process, port_file: Path) -> str:
    await until(lambda: port_file.exists() or process.returncode is not None)
    return (await asyncio.to_thread(port_file.read_text)).strip()


async def said(process: asyncio.subprocess.Process, words: bytes) -> None:
    """Reads what the process says until it says this."""
    while words not in (line := await process.stdout.readline()):
        assert line, "it has ended"


@pytest.fixture
async def server(tmp_path):
    process, port_file = await start(tmp_path)
    yield process, await address(process, port_file)
    if process.returncode is None:
        process.kill()
    await process.wait()


async def test_health_is_serving_overall_and_by_name(server):
    _, where = server
    async with grpc.aio.insecure_channel(where) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", "clipsearch.encoder.v1.EncoderService"):
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_sigterm_lets_calls_in_flight_finish_and_exits_0(server):
    process, where = server
    async with grpc.aio.insecure_channel(where) as channel:
        call = encoder_pb2_grpc.EncoderServiceStub(channel).GetModel(encoder_pb2.GetModelRequest())
        await said(process, b"asked")
        process.send_signal(signal.SIGTERM)
        assert (await call).name == "slow"
    out, _ = await asyncio.wait_for(process.communicate(), HANGS_S)
    assert process.returncode == 0
    assert b"closed" in out


async def test_a_second_signal_stops_at_once(tmp_path):
    process, port_file = await start(tmp_path, grace=3600, seconds=3600)
    async with grpc.aio.insecure_channel(await address(process, port_file)) as channel:
        call = encoder_pb2_grpc.EncoderServiceStub(channel).GetModel(encoder_pb2.GetModelRequest())
        await said(process, b"asked")
        process.send_signal(signal.SIGTERM)
        await said(process, b"draining")
        process.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.aio.AioRpcError):
            await call
    await asyncio.wait_for(process.wait(), HANGS_S)
    assert process.returncode == 0


async def test_a_port_in_use_is_one_clear_line(server, tmp_path):
    _, where = server
    port = int(where.rpartition(":")[2])
    second, _ = await start(tmp_path, port=port)
    _, err = await asyncio.wait_for(second.communicate(), HANGS_S)
    assert second.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}: the port is in use" in err.decode()
