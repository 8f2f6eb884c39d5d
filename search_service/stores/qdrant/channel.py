"""The client of a Qdrant server: its channels, how they spread over nodes and reconnect."""

from __future__ import annotations

import math
from urllib.parse import urlsplit

from qdrant_client import AsyncQdrantClient

from clipsearch.channel.connection import OWN_CONNECTION
from clipsearch.channel.credentials import ClientTls, CredentialsError, channel_options, check_pair, read_pem
from search_service.stores.qdrant.errors import StoreRefuses

# The first release that keeps metadata with a collection.
_OLDEST = [1, 16]

_OPTIONS: dict[str, str | int] = {
    # A name with several addresses is a cluster: calls take turns on its nodes. gRPC's default, pick_first,
    # would send every call to the first.
    "grpc.service_config": '{"loadBalancingConfig": [{"round_robin": {}}]}',
    # calls.py makes calls again; two layers of it would multiply.
    "grpc.enable_retries": 0,
    **OWN_CONNECTION,
    # A server that comes back is found within seconds; gRPC's own default grows to 2 minutes.
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.max_reconnect_backoff_ms": 2_000,
    # So are the addresses of nodes that came with a rollout; the default is 30 s.
    "grpc.dns_min_time_between_resolutions_ms": 2_000,
    # A node that hangs, or is gone without a word, gets no more calls after 7 s.
    "grpc.keepalive_time_ms": 5_000,
    "grpc.keepalive_timeout_ms": 2_000,
}


def open_client(
    url: str, api_key: str | None, timeout: float, tls: ClientTls | None, grpc_port: int, channels: int
) -> AsyncQdrantClient:
    """A client over gRPC that connects at its first call. Raises CredentialsError.

    A `url` without a scheme is taken for http://. In place of a host it may have the IPv4 addresses of
    several nodes, with commas between them.
    """
    address = urlsplit(url if "://" in url else f"http://{url}")
    if address.scheme not in ("http", "https") or not address.hostname:
        raise CredentialsError(f"{url!r} is no http:// or https:// address")
    host, *others = address.hostname.split(",")
    options = {**_OPTIONS, **_tls_options(tls)}
    if others:
        # As qdrant-client adds the port of the last; REST, for which this is no host, is never used.
        host = f"ipv4:{host}:{grpc_port}," + ",".join(
            [*(f"{h}:{grpc_port}" for h in others[:-1]), others[-1]]
        )
        # gRPC would name all of them, which Qdrant takes for a violation of HTTP/2.
        options["grpc.default_authority"] = f"{address.hostname.split(',')[0]}:{grpc_port}"
    return AsyncQdrantClient(
        host=host,
        https=address.scheme == "https",
        grpc_port=grpc_port,
        api_key=api_key,
        prefer_grpc=True,
        check_compatibility=False,  # it would ask over REST, which may be closed
        timeout=math.ceil(timeout),
        grpc_options=options,
        pool_size=channels,
    )


def _tls_options(tls: ClientTls | None) -> dict[str, bytes | str]:
    """Files of TLS as qdrant-client takes them, among the options of its channels."""
    if tls is None:
        return {}
    if tls.certificate is not None and tls.key is not None:
        check_pair(tls.certificate, tls.key)
    files = {"root_certificates": tls.ca, "private_key": tls.key, "certificate_chain": tls.certificate}
    read = {name: read_pem(path) for name, path in files.items() if path is not None}
    return {**read, **dict(channel_options(tls))}


def check_release(version: str) -> None:
    """Raises StoreRefuses for a server that is too old, of which words, such as "dev", say nothing."""
    numbers = [int(part) for part in version.split(".")[:2] if part.isdecimal()]
    if len(numbers) == 2 and numbers < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise StoreRefuses("store", f"Qdrant {version} is too old, {oldest} or later is needed")
