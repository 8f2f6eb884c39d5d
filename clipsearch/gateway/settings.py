"""What a gateway is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clipsearch.channel.credentials import ClientTls


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """Addresses are host:port; one name may stand for many replicas. `local` = for this machine only."""

    encoders: tuple[str, ...]
    servers: tuple[str, ...]
    host: str = "127.0.0.1"
    port: int = 8000
    local: bool = True
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    # How the services are reached; None = in plain text.
    upstream_tls: ClientTls | None = None
    # Names that callers may know it by; none = any. On loopback those of loopback are always among them.
    hosts: tuple[str, ...] = ()
    # Other sites whose pages may call: https://shop.example.
    origins: tuple[str, ...] = ()
    metrics_port: int | None = None
    max_body_mb: int = 32
    max_connections: int = 4096
    memory_mb: int = 1024
