"""The client of a Qdrant server: its channels, which calls gRPC repeats by itself, how they reconnect."""

from __future__ import annotations

import json
import math

from qdrant_client import AsyncQdrantClient

from clipsearch.connection import OWN_CONNECTION
from clipsearch.credentials import ClientTls, check_pair, read_pem

# gRPC itself repeats these calls when the server cannot be reached, within their deadline and not
# without end: all of them read, or write what writing again does not change. `Delete` is not among
# them, because its count of deleted points would be that of the second attempt.
_RETRIED = {
    "qdrant.Points": ("Upsert", "Get", "Scroll", "Count", "QueryBatch"),
    "qdrant.Collections": ("Get", "List", "ListAliases", "CollectionExists"),
}
_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [
                {"service": service, "method": method}
                for service, methods in _RETRIED.items()
                for method in methods
            ],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
}

_OPTIONS: dict[str, str | int] = {
    "grpc.service_config": json.dumps(_SERVICE_CONFIG),
    # What a call has sent is kept for the next attempt: by default up to 256 KiB, and a part of a write
    # (server_flight) has more, of many dimensions or with large payloads.
    "grpc.per_rpc_retry_buffer_size": 64 << 20,
    **OWN_CONNECTION,
    # A server that comes back is found within seconds; gRPC's own default grows to 2 minutes.
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.max_reconnect_backoff_ms": 2_000,
    # A machine that is gone without a word is noticed.
    "grpc.keepalive_time_ms": 30_000,
    "grpc.keepalive_timeout_ms": 10_000,
}


def open_client(
    url: str, api_key: str | None, timeout: float, tls: ClientTls | None, grpc_port: int, channels: int
) -> AsyncQdrantClient:
    """A client over gRPC that connects at its first call. Raises CredentialsError."""
    return AsyncQdrantClient(
        url=url,
        grpc_port=grpc_port,
        api_key=api_key,
        prefer_grpc=True,
        check_compatibility=False,  # it would ask over REST, which may be closed
        timeout=math.ceil(timeout),
        grpc_options={**_OPTIONS, **_tls_options(tls)},
        pool_size=channels,
    )


def _tls_options(tls: ClientTls | None) -> dict[str, bytes]:
    """Files of TLS as qdrant-client takes them, among the options of its channels."""
    if tls is None:
        return {}
    if tls.certificate is not None and tls.key is not None:
        check_pair(tls.certificate, tls.key)
    files = {"root_certificates": tls.ca, "private_key": tls.key, "certificate_chain": tls.certificate}
    return {name: read_pem(path) for name, path in files.items() if path is not None}
