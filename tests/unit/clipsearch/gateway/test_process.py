"""The gateway as a program: replicas, health, TLS, and its end."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import ssl
from contextlib import suppress
from pathlib import Path

import grpc
import httpx
import trustme
from grpc_health.v1.health_pb2 import HealthCheckResponse

from clipsearch.encoder.v1 import encoder_pb2
from tests.processes import GatewayProcess
from tests.unit.clipsearch.gateway.gates import COLLECTIONS, Gate, eventually, gate, healthz
from tests.unit.clipsearch.serving.served import GET_MODEL, running


async def test_calls_go_to_all_replicas_in_turn_and_to_none_that_drains(tmp_path):
    async with running() as other, gate(tmp_path, "--encoder", other.address) as one:
        for server, name in ((one.server, "first"), (other, "second")):
            server.answers[GET_MODEL] = naming(name)

        async def answering() -> set[str]:
            return {(await one.http.get("/v1/model")).json().get("name") for _ in range(8)}

        async def names(*wanted: str) -> None:
            async def they_are() -> bool:
                return await answering() == {*wanted}

            await eventually(they_are)

        await names("first", "second")
        await other.health.set("", HealthCheckResponse.NOT_SERVING)
        await names("first")
        await one.server.health.set("", HealthCheckResponse.NOT_SERVING)
        await eventually(lambda: refused(one, "/v1/model"))
        # Search is not ready as a whole without an encoder, and is asked what needs none.
        assert (await one.http.get("/v1/collections")).status_code == 200
        assert (await one.http.get("/healthz")).status_code == 200
        await one.server.health.set(COLLECTIONS, HealthCheckResponse.NOT_SERVING)
        await healthz(one.http, 503)
        assert await refused(one, "/v1/collections")


async def refused(one: Gate, path: str) -> bool:
    answer = await one.http.get(path)
    return answer.status_code == 503 and answer.json()["error"]["code"] == "SERVICE_UNAVAILABLE"


def naming(name):
    async def answer(request, context):
        return encoder_pb2.GetModelResponse(name=name)

    return answer


def pem(folder: Path, name: str, ca: trustme.CA, host: str) -> list[str]:
    issued = ca.issue_cert(host)
    for path, blob in ((f"{name}.crt", issued.cert_chain_pems[0]), (f"{name}.key", issued.private_key_pem)):
        new = folder / f".{path}"
        blob.write_to_path(new)
        new.replace(folder / path)
    return [str(folder / f"{name}.crt"), str(folder / f"{name}.key")]


def trusting(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


async def test_tls_to_callers_and_mtls_to_services(tmp_path):
    inner, outer = trustme.CA(), trustme.CA()
    service = inner.issue_cert("127.0.0.1")
    credentials = grpc.ssl_server_credentials(
        [(service.private_key_pem.bytes(), service.cert_chain_pems[0].bytes())],
        inner.cert_pem.bytes(),
        require_client_auth=True,
    )
    inner.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate, key = pem(tmp_path, "client", inner, "gateway.example")
    shown = {
        "CLIPSEARCH_TLS_CA": str(tmp_path / "ca.pem"),
        "CLIPSEARCH_TLS_CERT": certificate,
        "CLIPSEARCH_TLS_KEY": key,
    }
    crt, private = pem(tmp_path, "server", outer, "127.0.0.1")
    flags = ("--tls-certificate", crt, "--tls-key", private)
    async with gate(tmp_path, *flags, credentials=credentials, verify=trusting(outer), **shown) as one:
        assert (await one.http.get("/v1/model")).status_code == 200


async def test_a_service_of_another_name_is_not_trusted(tmp_path):
    ca = trustme.CA()
    service = ca.issue_cert("other.example")
    pair = (service.private_key_pem.bytes(), b"".join(blob.bytes() for blob in service.cert_chain_pems))
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with running(credentials=grpc.ssl_server_credentials([pair])) as server:
        addresses = ("--server", server.address, "--encoder", server.address, "--metrics-port", "0")
        process = GatewayProcess(tmp_path, *addresses, CLIPSEARCH_TLS_CA=str(tmp_path / "ca.pem"))
        try:
            await asyncio.to_thread(process.start)

            async def refused() -> bool:
                metrics = await asyncio.to_thread(process.metrics)
                found = re.findall(r"envoy_cluster_ssl_fail_verify_san{.*} ([0-9]+)", metrics)
                return any(int(count) > 0 for count in found)

            await eventually(refused)
        finally:
            await asyncio.to_thread(process.stop)


async def test_a_certificate_that_changes_is_read_again(tmp_path):
    first, second = trustme.CA(), trustme.CA()
    crt, key = pem(tmp_path, "server", first, "127.0.0.1")
    async with gate(tmp_path, "--tls-certificate", crt, "--tls-key", key, verify=trusting(first)) as one:
        pem(tmp_path, "server", second, "127.0.0.1")
        host, port = one.process.address.split(":")

        async def trusted() -> bool:
            try:
                _, writer = await asyncio.open_connection(host, int(port), ssl=trusting(second))
            except ssl.SSLError:
                return False
            writer.close()
            return True

        await eventually(trusted)


async def test_told_to_stop_it_ends_after_the_calls_in_progress(tmp_path):
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def answer(request, context):
        begun.set()
        await may_end.wait()
        return encoder_pb2.GetModelResponse(name="late")

    async with gate(tmp_path) as one:
        one.server.answers[GET_MODEL] = answer
        call = asyncio.create_task(one.http.get("/v1/model"))
        await begun.wait()
        one.process.signal(signal.SIGTERM)
        await eventually(lambda: refuses(one.process.port))
        may_end.set()
        assert (await call).json()["name"] == "late"
        assert await asyncio.to_thread(one.process.wait) == 0


async def refuses(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return True
    writer.close()
    return False


async def test_connections_beyond_the_limit_are_closed(tmp_path):
    async with gate(tmp_path, "--max-connections", "2") as one:  # the test's client has one

        async def accepted() -> bool:
            reader, writer = await asyncio.open_connection("127.0.0.1", one.process.port)
            held.append(writer)
            writer.write(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
            with suppress(ConnectionError):
                return (await reader.read(8)).startswith(b"HTTP/1.1")
            return False

        held: list[asyncio.StreamWriter] = []
        assert await accepted()
        assert not await accepted()
        for writer in held:
            writer.close()
        await eventually(accepted)
        for writer in held:
            writer.close()


async def test_past_its_memory_it_refuses_and_goes_on(tmp_path):
    flags = ("--memory-mb", "64", "--max-body-mb", "32")
    async with gate(tmp_path, *flags) as one:
        begun = [asyncio.create_task(one.http.post("/v1/texts:encode", content=body(30))) for _ in range(4)]
        answers = await asyncio.gather(*begun, return_exceptions=True)
        # A client that still sends when it is refused may see no more than the end of its connection.
        refused = [answer for answer in answers if not isinstance(answer, httpx.Response) or answer.is_error]
        assert refused
        for answer in refused:
            if isinstance(answer, httpx.Response):
                assert (answer.status_code, answer.json()["error"]["code"]) == (503, "SERVICE_UNAVAILABLE")
        await healthz(one.http, 200)
        assert (await one.http.get("/v1/model")).status_code == 200


def body(mb: int) -> bytes:
    return b'{"texts": ["' + b"a" * (mb * 1_000_000) + b'"]}'


def test_a_port_in_use_is_said(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = GatewayProcess(tmp_path)
        assert process.launch(taken.getsockname()[1]).wait(60) == 1
    assert "Address already in use" in process.text()
    assert "error: Envoy ended with code" in process.text()
