"""TLS and mTLS with good, wrong, missing and expired certificates, and with files that change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import grpc
import pytest
import trustme

from clipsearch.channel.credentials import ClientTls, CredentialsError, channel_credentials, channel_options
from clipsearch.serving.calls import CallInterceptor
from clipsearch.serving.security.auth import Guard
from clipsearch.serving.security.tls import server_credentials
from clipsearch.serving.security.tokens import Grant, Grants, Scope
from clipsearch.serving.settings import ServingSettings
from tests.unit.clipsearch.serving.served import SEARCH, Running, call, refusal, running
from tests.waiting import HANGS_S

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
EXPIRED = datetime.now(UTC) - timedelta(minutes=1)


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def stranger() -> trustme.CA:
    return trustme.CA()


class Files:
    """PEM files of one side."""

    def __init__(self, folder: Path, who: str, trusted: trustme.CA) -> None:
        self.certificate, self.key, self.ca = (folder / f"{who}.{kind}" for kind in ("crt", "key", "ca"))
        trusted.cert_pem.write_to_path(self.ca)

    def write(self, issued: trustme.LeafCert) -> Files:
        for path, content in (
            (self.certificate, b"".join(blob.bytes() for blob in issued.cert_chain_pems)),
            (self.key, issued.private_key_pem.bytes()),
        ):
            replace(path, content)
        return self


def replace(path: Path, content: bytes) -> None:
    """As operators' tools do it: no reader sees half a file."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)


@pytest.fixture
def server_files(tmp_path, ca) -> Files:
    return Files(tmp_path, "server", ca).write(ca.issue_cert("127.0.0.1"))


@pytest.fixture
def client_files(tmp_path, ca) -> Files:
    return Files(tmp_path, "client", ca).write(ca.issue_cert("indexer.example.com"))


def settings(files: Files, mtls: bool = False) -> ServingSettings:
    return ServingSettings(
        tls_certificate=files.certificate, tls_key=files.key, tls_client_ca=files.ca if mtls else None
    )


@asynccontextmanager
async def serving(files: Files, calls: CallInterceptor | None = None, mtls: bool = False):
    credentials = server_credentials(settings(files, mtls))
    async with running(calls, credentials=credentials) as server:
        yield server


def connect(server: Running, tls: ClientTls) -> grpc.aio.Channel:
    # A pool of its own: gRPC would otherwise go on with a connection made before.
    options = [*channel_options(tls), ("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.secure_channel(server.address, channel_credentials(tls), options)


async def reaches(server: Running, tls: ClientTls) -> bool:
    async with connect(server, tls) as channel:
        try:
            await call(channel, timeout=HANGS_S)
        except grpc.aio.AioRpcError as error:
            if error.code() is UNAVAILABLE:
                return False
            raise
    return True


async def test_a_client_must_trust_the_ca_and_speak_tls(server_files, tmp_path, stranger):
    other = Files(tmp_path, "other", stranger)
    async with serving(server_files) as server:
        assert await reaches(server, ClientTls(ca=server_files.ca))
        assert not await reaches(server, ClientTls(ca=other.ca))
        assert (await refusal(server.channel, timeout=HANGS_S))[0] is UNAVAILABLE


async def test_the_certificate_must_bear_the_servers_name(server_files, ca):
    server_files.write(ca.issue_cert("search.example.com"))
    async with serving(server_files) as server:
        assert not await reaches(server, ClientTls(ca=server_files.ca))
        assert await reaches(server, ClientTls(ca=server_files.ca, server_name="search.example.com"))


async def test_mtls_lets_in_certificates_of_its_ca_and_nothing_else(
    server_files, client_files, tmp_path, ca, stranger
):
    wrong = Files(tmp_path, "wrong", ca).write(stranger.issue_cert("indexer.example.com"))
    expired = Files(tmp_path, "expired", ca).write(ca.issue_cert("indexer.example.com", not_after=EXPIRED))
    async with serving(server_files, mtls=True) as server:
        assert await reaches(server, shown(client_files))
        assert not await reaches(server, ClientTls(ca=server_files.ca))
        assert not await reaches(server, shown(wrong))
        assert not await reaches(server, shown(expired))


def shown(files: Files) -> ClientTls:
    return ClientTls(files.ca, files.certificate, files.key)


async def test_new_files_are_used_for_new_connections(server_files, tmp_path, stranger):
    new_ca = Files(tmp_path, "new", stranger).ca
    async with serving(server_files) as server, connect(server, ClientTls(ca=server_files.ca)) as old:
        await call(old)
        server_files.write(stranger.issue_cert("127.0.0.1"))
        assert await reaches(server, ClientTls(ca=new_ca))
        assert not await reaches(server, ClientTls(ca=server_files.ca))
        await call(old)  # made before, goes on


async def test_the_cas_of_clients_are_reloaded_too(server_files, client_files, stranger):
    async with serving(server_files, mtls=True) as server:
        assert await reaches(server, shown(client_files))
        replace(server_files.ca, stranger.cert_pem.bytes())
        assert not await reaches(server, shown(client_files))


@pytest.mark.parametrize("damage", ["garbage", "other key", "gone"])
async def test_damaged_files_leave_the_last_good_ones_in_use(server_files, ca, damage):
    async with serving(server_files) as server:
        if damage == "gone":
            server_files.key.unlink()
        else:
            other = ca.issue_cert("127.0.0.1").private_key_pem.bytes()
            replace(server_files.key, b"garbage" if damage == "garbage" else other)
        assert await reaches(server, ClientTls(ca=server_files.ca))
        server_files.write(ca.issue_cert("127.0.0.1"))
        assert await reaches(server, ClientTls(ca=server_files.ca))


@pytest.mark.parametrize(
    ("which", "damage"),
    [*product(["certificate", "key", "ca"], ["garbage", "gone"]), ("key", "another's")],
)
def test_at_start_damaged_files_are_named(server_files, ca, which, damage):
    path = getattr(server_files, which)
    path.unlink()
    if damage == "garbage":
        path.write_text("garbage")
    if damage == "another's":
        ca.issue_cert("127.0.0.1").private_key_pem.write_to_path(path)
    with pytest.raises(CredentialsError, match=path.name):
        server_credentials(settings(server_files, mtls=True))


@pytest.fixture
async def by_certificate(server_files, tokens) -> AsyncIterator[tuple[Running, str]]:
    tokens.write(Grant(name="indexer", certificate="indexer.example.com", scopes={Scope.SEARCH}))
    token = tokens.add("encoding", "encode")
    calls = CallInterceptor(guard=Guard(Grants(tokens.path)))
    async with serving(server_files, calls, mtls=True) as server:
        yield server, token


async def test_a_certificate_carries_scopes_as_a_token_does(by_certificate, client_files):
    server, token = by_certificate
    async with connect(server, shown(client_files)) as channel:
        await call(channel, SEARCH)
        assert await refusal(channel) == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING")
        # A token that is shown counts, not the certificate beside it.
        await call(channel, token=token)
        assert await refusal(channel, SEARCH, token="cs_wrong") == (
            grpc.StatusCode.UNAUTHENTICATED,
            "TOKEN_UNKNOWN",
        )


async def test_a_valid_certificate_of_somebody_else_is_nobody(by_certificate, client_files, ca):
    server, _ = by_certificate
    client_files.write(ca.issue_cert("somebody.example.com"))
    async with connect(server, shown(client_files)) as channel:
        assert await refusal(channel, SEARCH) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")


def test_client_files_that_do_not_fit_are_named(tmp_path):
    with pytest.raises(CredentialsError, match="belong together"):
        ClientTls(certificate=tmp_path / "client.crt")
    with pytest.raises(CredentialsError, match=r"missing\.ca"):
        channel_credentials(ClientTls(ca=tmp_path / "missing.ca"))
