"""What the commands show and trust, from the environment: everybody on a machine can read a command line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from clipsearch.channel.credentials import ClientTls
    from clipsearch.client.aio import AsyncClient
    from clipsearch.client.sync import Client


class Access(TypedDict):
    """Arguments of the clients."""

    token: str | None
    tls: ClientTls | None


def access() -> Access:
    """CLIPSEARCH_TOKEN, and TLS if CLIPSEARCH_TLS_CA, or _CERT and _KEY (mTLS), are set.

    Raises CredentialsError.
    """
    from clipsearch.channel.credentials import ClientTls

    tls = ClientTls(
        _path("CLIPSEARCH_TLS_CA"),
        _path("CLIPSEARCH_TLS_CERT"),
        _path("CLIPSEARCH_TLS_KEY"),
    )
    return {"token": os.environ.get("CLIPSEARCH_TOKEN") or None, "tls": tls if tls.paths() else None}


def connect(server: str, timeout: float = 30.0) -> Client:
    """A client of the search service. Raises CredentialsError and AddressError."""
    from clipsearch.client.sync import Client

    return Client(server, timeout=timeout, **access())


def connect_async(server: str) -> AsyncClient:
    """A client for long work, whose calls may take two minutes. Raises CredentialsError and AddressError."""
    from clipsearch.client.aio import AsyncClient

    return AsyncClient(server, timeout=120.0, **access())


def _path(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value) if value else None
