"""Why a service cannot be reached, from what gRPC really says."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
import trustme

from clipsearch.channel.credentials import ClientTls
from clipsearch.client.aio import AsyncClient
from clipsearch.client.errors import ClipSearchError
from clipsearch.web.errors import from_service
from tests.unit.clipsearch.serving.served import running


@pytest.fixture
def ca(tmp_path: Path) -> trustme.CA:
    """Its certificate lies in `tmp_path/"ca"`, another's in "other"."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca")
    trustme.CA().cert_pem.write_to_path(tmp_path / "other")
    return ca


def certified(ca: trustme.CA, name: str, *, mutual: bool = False) -> grpc.ServerCredentials:
    issued = ca.issue_cert(name)
    pair = (issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes())
    return grpc.ssl_server_credentials([pair], ca.cert_pem.bytes() if mutual else None, mutual)


async def told(address: str, trusted: Path | None = None) -> tuple[str, str]:
    """Reason and message, as the page gets them; the message holds no address."""
    tls = ClientTls(ca=trusted) if trusted else None
    async with AsyncClient(address, timeout=60, tls=tls) as client:
        with pytest.raises(ClipSearchError) as raised:
            await client.list_collections()
    error = from_service(raised.value, "a", "search")
    assert error.status == 503
    assert not any(part in error.message for part in address.split(":"))
    return error.reason, error.message


@pytest.mark.parametrize(
    ("address", "reason", "cause"),
    [
        ("127.0.0.1:9", "CONNECTION_REFUSED", "nothing listens at its address"),
        ("nowhere.invalid:50052", "NAME_UNKNOWN", "the name in its address is not known"),
    ],
)
async def test_nothing_is_there(address, reason, cause):
    assert await told(address) == (reason, f"the search service cannot be reached: {cause}")


@pytest.mark.parametrize(
    ("name", "trusted", "cause"),
    [
        ("127.0.0.1", "other", "its certificate is not from a CA that is trusted here"),
        ("a.example.com", "ca", "its certificate is for another name"),
        ("", "ca", "it is called with TLS and speaks none"),
    ],
)
async def test_tls_that_cannot_be(ca, tmp_path, name, trusted, cause):
    async with running(credentials=certified(ca, name) if name else None) as server:
        reason, message = await told(server.address, tmp_path / trusted)
    assert (reason, message.partition(": ")[2]) == ("TLS_FAILED", cause)


@pytest.mark.parametrize("mutual", [False, True])
async def test_no_tls_or_no_certificate_where_one_is_wanted(ca, tmp_path, mutual):
    async with running(credentials=certified(ca, "127.0.0.1", mutual=mutual)) as server:
        reason, message = await told(server.address, tmp_path / "ca" if mutual else None)
    assert reason == "CONNECTION_CLOSED"
    assert "wants TLS or a certificate" in message


def test_what_grpc_says_in_other_words():
    error = ClipSearchError("UNAVAILABLE", "cannot reach it (a new phrase)", reason="SERVER_UNREACHABLE")
    made = from_service(error, "a", "encoder")
    assert (made.reason, made.message) == ("SERVER_UNREACHABLE", "the encoder cannot be reached")
