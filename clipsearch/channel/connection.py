"""Channels to the services: sizes, keepalive, load balancing and retries, the same for every client."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Sequence

import grpc

from clipsearch.channel.credentials import ClientTls, channel_credentials, channel_options

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
# As options of a channel: without it channels to one address share a connection, however many there are.
OWN_CONNECTION = {"grpc.use_local_subchannel_pool": 1}

# The retry policy that docs/operations.md tells of. It covers the moment in which a replica goes, not one
# that stays away: that is for the caller to decide. A service that has itself tried a dependency in
# vain tells gRPC here not to repeat that (`CallInterceptor`), so retries do not multiply.
# Only what may safely happen twice. Creating and deleting a collection, and deleting an index, answers
# differently the second time, and moving an alias would report where the first attempt had left it.
_RETRIED = [
    {"service": "clipsearch.encoder.v1.EncoderService"},
    {"service": "clipsearch.encoder.v1.OpenAIService"},
    {"service": "clipsearch.search.v1.SearchService"},
    {"service": "clipsearch.search.v1.CollectionService", "method": "GetCollection"},
    {"service": "clipsearch.search.v1.CollectionService", "method": "ListCollections"},
    {"service": "clipsearch.search.v1.CollectionService", "method": "UpdateCollection"},
    {"service": "clipsearch.search.v1.CollectionService", "method": "CreatePayloadIndex"},
    {"service": "clipsearch.search.v1.CollectionService", "method": "SetSuccessor"},
]

_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],  # the default, pick_first, pins one replica
    "methodConfig": [
        {
            "name": _RETRIED,
            "retryPolicy": {  # gRPC adds the jitter
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                # CANCELLED is what gRPC's servers say, as they stop, to calls that have reached the machine
                # but not the program yet. A caller that cancels is not meant: it sends no status.
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ],
    "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
}

_HERE = r"(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?"
_LOOPBACK = re.compile(rf"^(ipv[46]:)?{_HERE}(,{_HERE})*$")
_WITH_SCHEME = re.compile(r"^((unix|ipv4|ipv6):|[a-z0-9-]+://)")
_URL = re.compile(r"^https?://([^/]*)", re.IGNORECASE)
_PORT = re.compile(r":([0-9]+)$")
_WITHOUT_PORT = re.compile(r"^(unix|xds):")  # a file, or whatever a control plane calls a service
_MOST_PORT = 65535


class AddressError(ValueError):
    """What is given as a service's address can be none; the message says what to write."""


def channel(address: str, tls: ClientTls | None = None) -> grpc.Channel:
    """A channel to `host:port`, or to any gRPC target; it connects at the first call.

    `tls` None = plaintext. Raises CredentialsError and AddressError.
    """
    target, options = grpc_target(address), channel_arguments(address)
    if tls is None:
        return grpc.insecure_channel(target, options)
    return grpc.secure_channel(target, channel_credentials(tls), [*options, *channel_options(tls)])


def aio_channel(
    address: str,
    interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
    tls: ClientTls | None = None,
) -> grpc.aio.Channel:
    """The same for asyncio; belongs to the running loop."""
    target, options, seen_by = grpc_target(address), channel_arguments(address), list(interceptors)
    if tls is None:
        return grpc.aio.insecure_channel(target, options, interceptors=seen_by)
    options += channel_options(tls)
    return grpc.aio.secure_channel(target, channel_credentials(tls), options, interceptors=seen_by)


def is_loopback(host: str) -> bool:
    """True if only this machine reaches the host."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def host_port(host: str, port: int) -> str:
    """An address as it is written, IPv6's in brackets."""
    bare = host.strip("[]")
    return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"


def grpc_target(address: str) -> str:
    """The address as gRPC takes it, which would look for a host named http, and take a port modulo 65536.

    Raises AddressError.
    """
    if url := _URL.match(address):
        raise AddressError(f"{address!r} is a URL; the address of a service is {url[1] or 'host:port'}")
    if not address:
        raise AddressError("the address of a service is host:port, not empty")
    if not address.isprintable():
        raise AddressError(f"{address!r} is no address of a service, which is host:port")
    port = None if _WITHOUT_PORT.match(address) else _PORT.search(address)
    if port and int(port[1]) > _MOST_PORT:
        raise AddressError(f"{address!r}: there is no port {port[1]}, at most {_MOST_PORT}")
    return address if _WITH_SCHEME.match(address) else f"dns:///{address}"


def channel_arguments(address: str) -> list[tuple[str, str | int]]:
    """What a channel to the address is told, as gRPC takes it."""
    options: list[tuple[str, str | int]] = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
        # What a call has sent is kept for the next attempt, with its metadata. By default up to 256 KiB:
        # an image or a batch of points that is larger would be made again by nobody.
        ("grpc.per_rpc_retry_buffer_size", 2 * MAX_MESSAGE_BYTES),
        # As the servers permit it: see clipsearch/serving/lifecycle.py.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # A service that comes back is found within seconds; gRPC's own default grows to 2 minutes.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        # So are new replicas behind a name that is looked up again after a failure; the default is 30 s.
        ("grpc.dns_min_time_between_resolutions_ms", 2_000),
    ]
    if _LOOPBACK.match(address):
        # gRPC would ask the proxy of the environment for 127.0.0.1 too.
        options.append(("grpc.enable_http_proxy", 0))
    return options
