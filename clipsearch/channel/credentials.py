"""What a client shows and trusts: TLS files, and the metadata that carries its token and request id."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc


class CredentialsError(Exception):
    """A TLS file or the token of the client is not usable; the message names it."""


@dataclass(frozen=True, slots=True)
class ClientTls:
    """How to trust a server and be known to it; PEM files.

    `ca` None = the CAs that gRPC brings; `certificate` and `key` are for mTLS, both or none.
    `server_name` is the name that the server's certificate must bear, where it is not the address.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str = ""

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise CredentialsError("a client certificate and its key belong together, one is not given")

    def paths(self) -> list[Path]:
        """Those that are set."""
        return [path for path in (self.ca, self.certificate, self.key) if path is not None]


def channel_credentials(tls: ClientTls) -> grpc.ChannelCredentials:
    """Reads the files. A channel keeps what they held then. Raises CredentialsError."""
    if tls.certificate is not None and tls.key is not None:
        check_pair(tls.certificate, tls.key)
    ca, key, certificate = (
        None if path is None else read_pem(path) for path in (tls.ca, tls.key, tls.certificate)
    )
    if tls.ca is not None and ca is not None:
        _check_ca(tls.ca, ca)
    return grpc.ssl_channel_credentials(ca, key, certificate)


def _check_ca(path: Path, content: bytes) -> None:
    """Raises CredentialsError unless there is a certificate in it; gRPC would fail at every connection."""
    certificates = content.decode("ascii", "ignore")  # there may be words of any language between them
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=certificates)
    except (ssl.SSLError, ValueError) as error:
        raise CredentialsError(f"{path} holds no PEM certificate of a CA ({error})") from None


def check_pair(certificate: Path, key: Path) -> None:
    """Raises CredentialsError unless both are PEM and the key is the certificate's.

    gRPC itself would only say, at every connection, that the handshake failed.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        # An empty password: OpenSSL would ask the terminal for that of an encrypted key.
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        raise CredentialsError(
            f"{certificate} and {key} are no PEM certificate and its key ({error})"
        ) from None
    except OSError as error:
        raise CredentialsError(f"cannot read {certificate} or {key}: {error.strerror}") from None


def channel_options(tls: ClientTls) -> list[tuple[str, str]]:
    """The options that a channel with these credentials needs."""
    return [("grpc.ssl_target_name_override", tls.server_name)] if tls.server_name else []


def bearer(token: str | None) -> tuple[tuple[str, str], ...]:
    """The metadata that shows a token; none without one. Raises CredentialsError for what is none."""
    if token is not None and not isinstance(token, str):
        raise CredentialsError(f"the token must be a string, is of type {type(token).__name__}")
    bare = (token or "").strip()  # a file's last line ends
    if not (bare.isascii() and bare.isprintable()):
        raise CredentialsError("the token has characters that none has: tokens are of printable ASCII")
    return (("authorization", f"Bearer {bare}"),) if bare else ()


def read_pem(path: Path) -> bytes:
    """The content of a TLS file. Raises CredentialsError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise CredentialsError(f"cannot read {path}: {error.strerror}") from None
