"""`clipsearch health` against servers that are well, unwell, secured and not there."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import trustme
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from typer.testing import CliRunner

from clipsearch.cli import app
from tests.ports import OWN_PORT

NAME = "clipsearch.encoder.v1.EncoderService"


@dataclass
class Server:
    port: int
    servicer: health.HealthServicer

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


def serve(credentials: grpc.ServerCredentials | None = None) -> Iterator[Server]:
    server = grpc.server(ThreadPoolExecutor(2), options=OWN_PORT)
    servicer = health.HealthServicer()
    servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    yield Server(port, servicer)
    server.stop(None)


@pytest.fixture
def server() -> Iterator[Server]:
    yield from serve()


@pytest.fixture
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def mtls_server(ca) -> Iterator[Server]:
    issued = ca.issue_cert("search.example.com")
    pair = (issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes())
    yield from serve(grpc.ssl_server_credentials([pair], ca.cert_pem.bytes(), require_client_auth=True))


def ask(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["health", *arguments])
    return result.exit_code, result.stdout.strip()


def test_a_server_that_is_well(server):
    assert ask(server.address) == (0, "SERVING")


def test_a_server_that_is_not_ready(server):
    server.servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    server.servicer.set("liveness", health_pb2.HealthCheckResponse.SERVING)
    assert ask(server.address) == (1, "NOT_SERVING")
    assert ask(server.address, "--service", "liveness") == (0, "SERVING")


def test_one_service_by_name(server):
    server.servicer.set(NAME, health_pb2.HealthCheckResponse.SERVING)
    assert ask(server.address, "--service", NAME) == (0, "SERVING")
    code, said = ask(server.address, "--service", "nobody")
    assert code == 1
    assert "serves no 'nobody'" in said


def test_nobody_there():
    code, said = ask("127.0.0.1:1", "--timeout", "2")
    assert code == 1
    assert said.startswith("127.0.0.1:1 does not answer: ")
    assert "Traceback" not in said


def test_over_mtls(mtls_server, ca, tmp_path: Path):
    issued = ca.issue_cert("prober.example.com")
    ca.cert_pem.write_to_path(tmp_path / "ca")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "crt")
    issued.private_key_pem.write_to_path(tmp_path / "key")
    trust = ["--tls-ca", str(tmp_path / "ca"), "--tls-server-name", "search.example.com"]
    shown = ["--tls-cert", str(tmp_path / "crt"), "--tls-key", str(tmp_path / "key")]
    assert ask(mtls_server.address, *trust, *shown) == (0, "SERVING")
    assert ask(mtls_server.address, *trust, "--timeout", "2")[0] == 1
    assert ask(mtls_server.address, "--timeout", "2")[0] == 1


def test_a_missing_file_is_named(server, tmp_path: Path):
    code, said = ask(server.address, "--tls-ca", str(tmp_path / "nowhere.pem"))
    assert code == 1
    assert "nowhere.pem" in said
