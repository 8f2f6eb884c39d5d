"""A Qdrant server behind TLS of its operator's own CA."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import trustme

from clipsearch.channel.credentials import ClientTls, CredentialsError
from clipsearch.serving.errors import Unavailable
from search_service.stores.qdrant.store import QdrantServer
from tests.unit.search_service.stores.qdrant import Qdrant


@pytest.fixture
def files(tmp_path: Path) -> tuple[trustme.CA, ClientTls]:
    """A CA, and what a client needs that it has issued a certificate for."""
    ca = trustme.CA()
    issued = ca.issue_cert("search")
    tls = ClientTls(tmp_path / "ca", tmp_path / "crt", tmp_path / "key")
    ca.cert_pem.write_to_path(tls.ca)
    issued.cert_chain_pems[0].write_to_path(tls.certificate)
    issued.private_key_pem.write_to_path(tls.key)
    return ca, tls


@pytest.fixture
async def qdrant(files) -> AsyncIterator[Qdrant]:
    ca, _ = files
    issued = ca.issue_cert("127.0.0.1")
    pair = (issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes())
    credentials = grpc.ssl_server_credentials([pair], ca.cert_pem.bytes(), require_client_auth=True)
    server = Qdrant(credentials=credentials)
    await server.start()
    yield server
    await server.stop()


def connect(qdrant: Qdrant, tls: ClientTls | None) -> QdrantServer:
    return QdrantServer.connect("https://127.0.0.1:1", "a key", timeout=5, tls=tls, grpc_port=qdrant.port)


async def test_its_ca_and_our_certificate_make_the_connection(qdrant, files):
    store = connect(qdrant, files[1])
    await store.ping()
    await store.close()

    assert qdrant.metadata["api-key"] == "a key"


async def test_a_ca_that_is_not_known_is_not_trusted(qdrant, files):
    store = connect(qdrant, None)
    with pytest.raises(Unavailable):
        await store.ping()
    await store.close()

    assert not qdrant.calls


async def test_a_server_that_asks_for_a_certificate_gets_none_by_accident(qdrant, files):
    store = connect(qdrant, ClientTls(files[1].ca))
    with pytest.raises(Unavailable):
        await store.ping()
    await store.close()


@pytest.mark.parametrize("which", ["ca", "certificate", "key"])
def test_a_file_that_is_not_there_is_told_at_the_start(files, which, tmp_path):
    tls = dataclasses.replace(files[1], **{which: tmp_path / "gone"})

    with pytest.raises(CredentialsError, match="gone"):
        QdrantServer.connect("https://127.0.0.1:1", None, timeout=5, tls=tls)
