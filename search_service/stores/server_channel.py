"""How the gRPC channels to a Qdrant server behave: which calls gRPC repeats by itself, how they reconnect."""

from __future__ import annotations

import json

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
    # Channels to one address share a connection otherwise, however many there are.
    "grpc.use_local_subchannel_pool": 1,
    # A server that comes back is found within seconds; gRPC's own default grows to 2 minutes.
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.max_reconnect_backoff_ms": 2_000,
    # A machine that is gone without a word is noticed.
    "grpc.keepalive_time_ms": 30_000,
    "grpc.keepalive_timeout_ms": 10_000,
}


def grpc_options(tls: ClientTls | None) -> dict[str, str | int | bytes]:
    """What qdrant-client hands to its channels, the files of TLS among it. Raises CredentialsError."""
    if tls is None:
        return dict(_OPTIONS)
    if tls.certificate is not None and tls.key is not None:
        check_pair(tls.certificate, tls.key)
    files = {"root_certificates": tls.ca, "private_key": tls.key, "certificate_chain": tls.certificate}
    return {**_OPTIONS, **{name: read_pem(path) for name, path in files.items() if path is not None}}
