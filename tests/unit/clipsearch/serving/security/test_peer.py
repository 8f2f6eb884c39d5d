"""A connection that outlives its certificate."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
import trustme

from clipsearch.channel.credentials import ClientTls, channel_credentials
from clipsearch.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from clipsearch.serving.security import peer as peer_module
from clipsearch.serving.security.peer import Peer
from tests.unit.clipsearch.serving.served import GET_MODEL, running
from tests.waiting import HANGS_S, until

REQUEST = encoder_pb2.GetModelRequest()


class Client:
    """Its files, and the certificate that they hold."""

    def __init__(self, folder: Path, ca: trustme.CA) -> None:
        self._ca = ca
        self.tls = ClientTls(folder / "ca", folder / "crt", folder / "key")
        ca.cert_pem.write_to_path(self.tls.ca)

    def write(self, name: str) -> None:
        issued = self._ca.issue_cert(name)
        self.tls.certificate.write_bytes(issued.cert_chain_pems[0].bytes())
        self.tls.key.write_bytes(issued.private_key_pem.bytes())


@pytest.fixture
async def mtls():
    """A server that asks for certificates, and its CA."""
    ca = trustme.CA()
    issued = ca.issue_cert("127.0.0.1")
    pair = (issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes())
    credentials = grpc.ssl_server_credentials([pair], ca.cert_pem.bytes(), require_client_auth=True)
    async with running(credentials=credentials) as server:
        yield server, ca


def connected(server, tls: ClientTls) -> Peer:
    return Peer(
        lambda: grpc.aio.secure_channel(server.address, channel_credentials(tls)),
        encoder_pb2_grpc.EncoderServiceStub,
        tls,
    )


async def test_calls_after_a_renewal_show_the_new_certificate_and_those_before_finish(
    mtls, tmp_path, monkeypatch
):
    monkeypatch.setattr(peer_module, "POLL_S", 0.01)
    server, ca = mtls
    client = Client(tmp_path, ca)
    client.write("first.example.com")
    shown: list[str] = []
    entered, release = asyncio.Event(), asyncio.Event()

    async def look(request, context):
        shown.append(b"".join(context.peer_identities()).decode())
        entered.set()
        await release.wait()

    server.answers[GET_MODEL] = look
    peer = connected(server, client.tls)
    watching = asyncio.create_task(peer.watch())
    early = peer.stub.GetModel(REQUEST, timeout=HANGS_S)
    await entered.wait()
    before = peer.stub
    client.write("second.example.com")
    await until(lambda: peer.stub is not before)
    release.set()
    await peer.stub.GetModel(REQUEST, timeout=HANGS_S)
    await early
    assert shown == ["first.example.com", "second.example.com"]
    watching.cancel()
    await peer.close()


@pytest.mark.parametrize("damage", ["gone", "another's"])
async def test_files_that_are_not_usable_leave_the_connection_as_it_was(mtls, tmp_path, monkeypatch, damage):
    monkeypatch.setattr(peer_module, "POLL_S", 0.01)
    server, ca = mtls
    client = Client(tmp_path, ca)
    client.write("first.example.com")
    peer = connected(server, client.tls)
    watching = asyncio.create_task(peer.watch())
    await peer.stub.GetModel(REQUEST, timeout=HANGS_S)
    if damage == "gone":
        client.tls.key.unlink()
    else:
        client.tls.key.write_bytes(ca.issue_cert("first.example.com").private_key_pem.bytes())
    before = peer.stub
    await asyncio.sleep(0.1)
    assert peer.stub is before
    await peer.stub.GetModel(REQUEST, timeout=HANGS_S)
    assert not watching.done()
    watching.cancel()
    await peer.close()
