"""A connection that outlives its certificate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
import pytest
import trustme

from clipsearch.channel.credentials import ClientTls
from clipsearch.encoder.v1 import encoder_pb2
from search_service.encoder import connection as connection_module
from search_service.encoder.client import EncoderClient
from tests.unit.clipsearch.serving.served import GET_MODEL, Running, running
from tests.waiting import HANGS_S, until

REQUEST = encoder_pb2.GetModelRequest()


def write(tls: ClientTls, issued: trustme.LeafCert) -> None:
    tls.certificate.write_bytes(issued.cert_chain_pems[0].bytes())
    tls.key.write_bytes(issued.private_key_pem.bytes())


@dataclass
class Connected:
    """A server that asks for certificates of its CA, and a watched connection from the first."""

    ca: trustme.CA
    server: Running
    tls: ClientTls
    peer: EncoderClient
    watching: asyncio.Task


@pytest.fixture
async def connected(tmp_path, monkeypatch) -> AsyncIterator[Connected]:
    monkeypatch.setattr(connection_module, "POLL_S", 0.01)
    ca = trustme.CA()
    issued = ca.issue_cert("127.0.0.1")
    pair = (issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes())
    credentials = grpc.ssl_server_credentials([pair], ca.cert_pem.bytes(), require_client_auth=True)
    tls = ClientTls(tmp_path / "ca", tmp_path / "crt", tmp_path / "key")
    ca.cert_pem.write_to_path(tls.ca)
    write(tls, ca.issue_cert("first.example.com"))
    async with running(credentials=credentials) as server:
        peer = EncoderClient(server.address, HANGS_S, tls=tls)
        watching = asyncio.create_task(peer.watch())
        yield Connected(ca, server, tls, peer, watching)
        watching.cancel()
        await peer.close()


async def test_calls_after_a_renewal_show_the_new_certificate_and_those_before_finish(connected):
    shown: list[str] = []
    entered, release = asyncio.Event(), asyncio.Event()

    async def look(request, context):
        shown.append(b"".join(context.peer_identities()).decode())
        entered.set()
        await release.wait()

    connected.server.answers[GET_MODEL] = look
    peer = connected.peer
    early = peer.stub.GetModel(REQUEST, timeout=HANGS_S)
    await entered.wait()
    before = peer.stub
    write(connected.tls, connected.ca.issue_cert("second.example.com"))
    await until(lambda: peer.stub is not before)
    release.set()
    await peer.stub.GetModel(REQUEST, timeout=HANGS_S)
    await early
    assert shown == ["first.example.com", "second.example.com"]


@pytest.mark.parametrize("damage", ["gone", "another's"])
async def test_files_that_are_not_usable_leave_the_connection_as_it_was(connected, damage):
    peer, key = connected.peer, connected.tls.key
    await peer.stub.GetModel(REQUEST, timeout=HANGS_S)
    if damage == "gone":
        key.unlink()
    else:
        key.write_bytes(connected.ca.issue_cert("first.example.com").private_key_pem.bytes())
    before = peer.stub
    await asyncio.sleep(0.1)
    assert peer.stub is before
    await peer.stub.GetModel(REQUEST, timeout=HANGS_S)
    assert not connected.watching.done()
