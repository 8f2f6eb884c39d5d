"""A served process as operations sees it: TLS, tokens, metrics, readiness and drain, all at once."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.metrics import sample
from tests.processes import Program
from tests.unit.clipsearch.serving.served import call, refusal
from tests.waiting import HANGS_S, until

NAME = "clipsearch.encoder.v1.EncoderService"
SERVING, NOT_SERVING = 1, 2

SERVER = textwrap.dedent(
    """
    import asyncio, contextlib, os, sys
    from pydantic_settings import SettingsConfigDict
    from clipsearch.encoder.v1 import encoder_pb2, encoder_pb2_grpc
    from clipsearch.serving.errors import Unavailable
    from clipsearch.serving.lifecycle import serve
    from clipsearch.serving.service import Service, StartError
    from clipsearch.serving.telemetry.log import configure_logging
    from clipsearch.serving.settings import ServingSettings, SettingsError, load_settings

    class ToySettings(ServingSettings):
        model_config = SettingsConfigDict(env_prefix="TOY_", extra="forbid", frozen=True)

    class Toy(encoder_pb2_grpc.EncoderServiceServicer):
        async def GetModel(self, request, context):
            if ("slow", "yes") in context.invocation_metadata():
                open(sys.argv[1] + "-asked", "w").close()
                while not os.path.exists(sys.argv[1] + "-answer"):
                    await asyncio.sleep(0.02)
            return encoder_pb2.GetModelResponse(name="toy")

    async def ready():
        if not os.path.exists(sys.argv[1]):
            raise Unavailable("store", "the store cannot be reached")

    @contextlib.asynccontextmanager
    async def services(process):
        add = lambda server: encoder_pb2_grpc.add_EncoderServiceServicer_to_server(Toy(), server)
        yield [Service("clipsearch.encoder.v1.EncoderService", add, ready, unready_after_s=1)]

    try:
        settings = load_settings(ToySettings)
        configure_logging(settings.log_level, settings.log_format, "toy")
        asyncio.run(serve(settings, "toy", services))
    except (SettingsError, StartError) as error:
        sys.exit(str(error))
    """
)


class Toy(Program):
    """The service, with the switch that its probe looks at."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.dependency = folder / "dependency"
        command = [sys.executable, "-c", SERVER, str(self.dependency)]
        given = {"log_format": "json", **settings}
        variables = {f"TOY_{key.upper()}": str(value) for key, value in given.items()}
        super().__init__("toy", folder, command, variables, prefix="TOY")

    async def entry(self, event: str) -> dict[str, Any]:
        """Waits for an entry of the log."""
        await until(lambda: any(line["event"] == event for line in self.logged()))
        return next(line for line in self.logged() if line["event"] == event)


async def status(channel: grpc.aio.Channel, service: str = "") -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=HANGS_S)).status


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[Callable[..., Toy]]:
    """Makes the service with settings; what was started of it is ended."""
    made: list[Toy] = []

    def make(**settings: object) -> Toy:
        made.append(Toy(tmp_path, **settings))
        return made[-1]

    yield make
    for process in made:
        process.kill()


@asynccontextmanager
async def connected(process: Toy) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the service once its dependency is there; launches it if nobody has."""
    process.dependency.touch()
    if not process.alive():
        process.launch()
    await until(process.port_file.exists)
    async with grpc.aio.insecure_channel(process.port_file.read_text().strip()) as channel:
        yield channel


async def test_tls_tokens_metrics_and_logs_together(toy, tmp_path, tokens):
    ca = trustme.CA()
    issued = ca.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(tmp_path / "key")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "crt")
    token = tokens.add("shop", "encode")
    process = toy(
        tls_certificate=tmp_path / "crt",
        tls_key=tmp_path / "key",
        tokens_file=tokens.path,
        metrics_port=0,
        log_level="debug",
    )
    process.dependency.touch()
    process.start()
    credentials = grpc.ssl_channel_credentials(ca.cert_pem.bytes())
    async with grpc.aio.secure_channel(process.address, credentials) as channel:
        assert await status(channel, NAME) == SERVING
        assert (await call(channel, token=token, metadata=[("x-request-id", "order-17")])).name == "toy"
        assert (await refusal(channel))[0] is grpc.StatusCode.UNAUTHENTICATED
        assert (await refusal(channel, token="cs_guess"))[0] is grpc.StatusCode.UNAUTHENTICATED
        later = tokens.add("later", "encode")
        await until_accepted(channel, later)

    # Probes speak no TLS and show no token.
    for page in ("healthz", "readyz", f"readyz?service={NAME}"):
        answer = await asyncio.to_thread(urlopen, f"http://{process.metrics_address()}/{page}", timeout=10)
        assert (answer.status, answer.read()) == (200, b"SERVING\n")
    text = await asyncio.to_thread(process.metrics)
    assert sample(text, "grpc_server_handled_total", grpc_code="UNAUTHENTICATED") >= 2
    assert sample(text, "clipsearch_ready", grpc_service=NAME) == 1
    assert sample(text, "clipsearch_event_loop_lag_seconds_count") >= 1

    process.signal(signal.SIGTERM)
    assert process.wait() == 0
    calls = {line["request_id"]: line for line in process.logged() if line["event"] == "call"}
    assert (calls["order-17"]["caller"], calls["order-17"]["code"]) == ("shop", "OK")
    log = process.text()
    for secret in (token, later, "cs_guess"):
        assert secret not in log


async def until_accepted(channel: grpc.aio.Channel, token: str) -> None:
    while True:
        try:
            await call(channel, token=token)
            return
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAUTHENTICATED:
                raise
        await asyncio.sleep(0.05)


async def becomes(channel: grpc.aio.Channel, wanted: int) -> None:
    while await status(channel) != wanted:  # noqa: ASYNC110 - another process
        await asyncio.sleep(0.02)


async def test_readiness_follows_the_dependency_and_the_drain_and_liveness_does_not(toy):
    process = toy(drain_delay_s=60)
    process.launch()
    assert (await process.entry("not ready"))["problem"] == "the store cannot be reached"
    assert not process.port_file.exists()

    async with connected(process) as channel:
        await becomes(channel, SERVING)
        process.dependency.unlink()
        await becomes(channel, NOT_SERVING)
        assert await status(channel, NAME) == NOT_SERVING
        assert await status(channel, "liveness") == SERVING
        assert (await call(channel)).name == "toy"  # what needs no dependency goes on
        process.dependency.touch()
        await becomes(channel, SERVING)

        process.signal(signal.SIGTERM)
        await becomes(channel, NOT_SERVING)
        assert await status(channel, NAME) == NOT_SERVING
        assert await status(channel, "liveness") == SERVING
        assert (await call(channel)).name == "toy"  # told before calls are refused
    process.signal(signal.SIGTERM)  # ends the delay
    assert process.wait() == 0


async def under_way(channel: grpc.aio.Channel, folder: Path) -> asyncio.Task:
    """A call that is answered when the test says so."""
    asked = asyncio.create_task(call(channel, metadata=[("slow", "yes")], timeout=HANGS_S))
    await until((folder / "dependency-asked").exists)
    return asked


async def test_sigterm_lets_calls_in_flight_finish_and_exits_0(toy, tmp_path):
    process = toy(drain_grace_s=HANGS_S)
    async with connected(process) as channel:
        asked = await under_way(channel, tmp_path)
        process.signal(signal.SIGTERM)
        await process.entry("draining")
        (tmp_path / "dependency-answer").touch()
        assert (await asked).name == "toy"
    assert process.wait() == 0
    await process.entry("toy has stopped")


async def test_a_second_signal_stops_at_once(toy, tmp_path):
    process = toy(drain_grace_s=600)
    async with connected(process) as channel:
        asked = await under_way(channel, tmp_path)
        process.signal(signal.SIGTERM)
        await process.entry("draining")
        process.signal(signal.SIGTERM)
        with pytest.raises(grpc.aio.AioRpcError):
            await asked
    assert process.wait() == 0


async def test_sigterm_before_it_was_ever_ready_ends_it_with_0(toy):
    process = toy()
    process.launch()
    await process.entry("not ready")
    assert process.stop() == 0
    assert not process.port_file.exists()


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({}, "cannot listen on 127.0.0.1:{port}: the port is in use"),
        ({"host": "0.0.0.0"}, "TOY_HOST=0.0.0.0 can be reached from other machines"),
        ({"tokens_file": "nowhere"}, "cannot read nowhere: No such file"),
        ({"tls_certificate": "a.crt", "tls_key": "a.key"}, "cannot read a.crt: No such file"),
        ({"otlp_endpoint": "collector:4317"}, "the OTLP endpoint must start with http:// or https://"),
    ],
)
def test_what_cannot_start_says_why_in_one_line(toy, settings, problem):
    process = toy(**settings)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process.launch(port)
        assert process.wait() == 1
    [said] = [line for line in process.text().splitlines() if "add_port.cc" not in line]  # gRPC's own
    assert said.startswith(problem.format(port=port))


def test_a_port_file_that_cannot_be_written_ends_it_with_its_setting(toy, tmp_path):
    process = toy()
    process.dependency.touch()
    process.port_file = tmp_path / "nowhere" / "port"
    process.launch()
    assert process.wait() == 1
    said = f"TOY_PORT_FILE: {process.port_file} cannot be written: No such file or directory"
    assert process.text().splitlines()[-1] == said
    assert "Traceback" not in process.text()


async def test_compressed_requests_are_refused_before_they_are_unpacked(toy):
    async with connected(toy()) as channel:
        refused = await refusal(channel, compression=grpc.Compression.Gzip)
        assert refused == (grpc.StatusCode.UNIMPLEMENTED, "")
        assert (await call(channel)).name == "toy"


async def test_old_connections_end_so_that_new_replicas_get_traffic(toy):
    async with connected(toy(max_connection_age_s=1, max_connection_age_grace_s=1)) as channel:
        await call(channel)
        await asyncio.wait_for(channel.wait_for_state_change(grpc.ChannelConnectivity.READY), HANGS_S)
        assert (await call(channel)).name == "toy"  # connects again
