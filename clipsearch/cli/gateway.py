"""`clipsearch gateway`: JSON, gRPC and gRPC-web on one port, by Envoy."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from clipsearch.cli.shared.access import access
from clipsearch.cli.shared.options import (
    DEFAULT_ENCODER,
    DEFAULT_SERVER,
    Host,
    Insecure,
    Port,
    PortFile,
    TlsCertificate,
    TlsKey,
)
from clipsearch.cli.shared.output import plain, stdout
from clipsearch.cli.shared.problems import Problem
from clipsearch.cli.web import check_tls


def gateway(
    server: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT",
            envvar="CLIPSEARCH_SERVER",
            help="The search service. Repeatable: calls go to all in turn.",
            show_default=DEFAULT_SERVER,
        ),
    ] = None,
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT",
            envvar="CLIPSEARCH_ENCODER",
            help="The encoder. Repeatable.",
            show_default=DEFAULT_ENCODER,
        ),
    ] = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    port_file: PortFile = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    insecure: Insecure = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Name that callers may know it by, as in their URLs. Repeatable.",
            show_default="any; on loopback its names",
        ),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN", help="Site whose pages may call, https://shop.example say. Repeatable."
        ),
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port of Prometheus metrics.", show_default="none"),
    ] = None,
    max_body_mb: Annotated[
        int, typer.Option(min=1, max=1024, help="Largest body of a JSON request, and answer, MiB.")
    ] = 32,
    max_connections: Annotated[int, typer.Option(min=1, help="Connections at a time.")] = 4096,
    memory_mb: Annotated[
        int, typer.Option(min=64, help="Memory past which requests are refused, MiB.")
    ] = 1024,
    drain_delay_s: Annotated[
        float, typer.Option(min=0, max=300, help="Seconds between 503 at /healthz and closing, at shutdown.")
    ] = 0.0,
) -> None:
    """Serves JSON over HTTP, gRPC and gRPC-web on one port, before both services.

    Only this machine reaches it, unless --host says otherwise; then it needs TLS. Callers' tokens pass
    through to the services. TLS to those: CLIPSEARCH_TLS_CA (and CLIPSEARCH_TLS_CERT, _KEY for mTLS).

    Examples:

      clipsearch gateway

      clipsearch gateway --server search-1:50052 --server search-2:50052

      clipsearch gateway --host 0.0.0.0 --tls-certificate crt.pem --tls-key key.pem
    """
    from clipsearch.channel.connection import is_loopback
    from clipsearch.channel.credentials import channel_credentials
    from clipsearch.gateway.process import run
    from clipsearch.gateway.settings import GatewaySettings

    check_tls(host, tls_certificate, tls_key, insecure)
    tls = access()["tls"]
    if tls is not None:
        channel_credentials(tls)  # that the files are no good is said before Envoy starts
    settings = GatewaySettings(
        encoders=_addresses("--encoder", encoder or [DEFAULT_ENCODER]),
        servers=_addresses("--server", server or [DEFAULT_SERVER]),
        host=host,
        port=port,
        local=is_loopback(host),
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        upstream_tls=tls,
        hosts=tuple(allow_host or ()),
        origins=tuple(origin.rstrip("/") for origin in allow_origin or ()),
        metrics_port=metrics_port,
        max_body_mb=max_body_mb,
        max_connections=max_connections,
        memory_mb=memory_mb,
    )

    def ready(addresses: dict[str, str]) -> None:
        scheme = "http" if tls_certificate is None else "https"
        url = f"{scheme}://{addresses['gateway']}/"
        if "metrics" in addresses:
            stdout().print(f"metrics: http://{plain(addresses['metrics'])}/metrics")
        stdout().print(f"the gateway: [bold]{plain(url)}[/bold]   (Ctrl-C ends it)")
        if port_file is not None:
            port_file.write_text(addresses["gateway"], encoding="utf-8")

    run(settings, ready, drain_delay_s)


def _addresses(option: str, given: list[str]) -> tuple[str, ...]:
    for address in given:
        if not re.fullmatch(r".+:\d{1,5}", address):
            raise Problem(f"{option} {address}: an address is HOST:PORT")
    return tuple(given)
