"""`clipsearch health`: asks a service whether it works, for scripts and for Kubernetes' exec probes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_STATUSES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}


def health(
    address: Annotated[str, typer.Argument(metavar="HOST:PORT", help="The service.")],
    service: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="One gRPC service, or `liveness`: whether the process lives, ready or not. "
            "Without it: all that is served there.",
        ),
    ] = "",
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for the answer.")] = 5.0,
    tls: Annotated[
        bool, typer.Option("--tls", help="The service speaks TLS; implied by the other TLS options.")
    ] = False,
    ca: Annotated[
        Path | None,
        typer.Option("--tls-ca", envvar="CLIPSEARCH_TLS_CA", help="PEM file of the CAs to trust."),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(
            "--tls-cert", envvar="CLIPSEARCH_TLS_CERT", help="PEM file of the certificate to show (mTLS)."
        ),
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--tls-key", envvar="CLIPSEARCH_TLS_KEY", help="PEM file of its key.")
    ] = None,
    server_name: Annotated[
        str, typer.Option("--tls-server-name", help="Name in the service's certificate, if not its address.")
    ] = "",
) -> None:
    """Prints SERVING and exits with 0, or prints why not and exits with 1.

    Examples:

      clipsearch health localhost:50051

      clipsearch health localhost:50052 --service clipsearch.search.v1.SearchService

      clipsearch health search.example.com:443 --tls-ca ca.pem
    """
    import grpc
    from google.protobuf import wrappers_pb2

    from clipsearch.channel.connection import channel
    from clipsearch.channel.credentials import ClientTls, CredentialsError

    try:
        trust = ClientTls(ca, certificate, key, server_name)
        with channel(address, trust if tls or trust != ClientTls() else None) as connected:
            # Of the protocol's two messages each has one field, 1, as these have: no package is needed.
            check = connected.unary_unary(
                "/grpc.health.v1.Health/Check",
                request_serializer=wrappers_pb2.StringValue.SerializeToString,
                response_deserializer=wrappers_pb2.Int32Value.FromString,
            )
            answer = check(wrappers_pb2.StringValue(value=service), timeout=timeout)
        status = _STATUSES.get(answer.value, f"status {answer.value}")
    except CredentialsError as error:
        status = str(error)
    except grpc.RpcError as error:
        status = f"{address} does not answer: {error.code().name}: {error.details()}"
        if error.code() is grpc.StatusCode.NOT_FOUND:
            status = f"{address} serves no {service!r}"
    typer.echo(status)
    raise typer.Exit(0 if status == "SERVING" else 1)
