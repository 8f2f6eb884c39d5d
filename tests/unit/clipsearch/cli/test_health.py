"""`clipsearch health` against servers that are well, unwell, secured and not there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import trustme
from grpc_health.v1 import health_pb2
from typer.testing import CliRunner

from clipsearch.cli import app
from tests.unit.clipsearch.serving.served import running

NAME = "clipsearch.encoder.v1.EncoderService"
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVING = health_pb2.HealthCheckResponse.SERVING


async def ask(*arguments: str) -> tuple[int, str]:
    """In a thread: the server's loop is this one's."""
    result = await asyncio.to_thread(CliRunner().invoke, app, ["health", *arguments])
    return result.exit_code, result.stdout.strip()


async def test_a_server_that_is_well_and_one_that_is_not_ready():
    async with running() as server:
        assert await ask(server.address) == (0, "SERVING")
        await server.health.set("", NOT_SERVING)
        await server.health.set("liveness", SERVING)
        assert await ask(server.address) == (1, "NOT_SERVING")
        assert await ask(server.address, "--service", "liveness") == (0, "SERVING")


async def test_one_service_by_name():
    async with running() as server:
        await server.health.set(NAME, SERVING)
        assert await ask(server.address, "--service", NAME) == (0, "SERVING")
        code, said = await ask(server.address, "--service", "nobody")
    assert code == 1
    assert "serves no 'nobody'" in said


async def test_over_mtls(tmp_path: Path):
    ca = trustme.CA()
    issued = ca.issue_cert("search.example.com")
    pair = (issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes())
    credentials = grpc.ssl_server_credentials([pair], ca.cert_pem.bytes(), require_client_auth=True)
    issued = ca.issue_cert("prober.example.com")
    ca.cert_pem.write_to_path(tmp_path / "ca")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "crt")
    issued.private_key_pem.write_to_path(tmp_path / "key")
    trust = ["--tls-ca", str(tmp_path / "ca"), "--tls-server-name", "search.example.com"]
    shown = ["--tls-cert", str(tmp_path / "crt"), "--tls-key", str(tmp_path / "key")]
    async with running(credentials=credentials) as server:
        assert await ask(server.address, *trust, *shown) == (0, "SERVING")
        assert (await ask(server.address, *trust, "--timeout", "2"))[0] == 1
        assert (await ask(server.address, "--timeout", "2"))[0] == 1


async def test_a_missing_file_is_named(tmp_path: Path):
    code, said = await ask("127.0.0.1:1", "--tls-ca", str(tmp_path / "nowhere.pem"))
    assert code == 1
    assert "nowhere.pem" in said
