"""The server's side of TLS and mTLS: credentials from files, read again when the files change."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import grpc
import structlog

from clipsearch.channel.credentials import CredentialsError, check_pair
from clipsearch.serving.security.files import Stamp, stamp
from clipsearch.serving.settings import ServingSettings

_log = structlog.get_logger(__name__)


class TlsError(Exception):
    """The certificate, key or CA file is not usable; the message names the file."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the certificate chain, its key, and the CAs of clients' certificates (None = no mTLS)."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def paths(self) -> list[Path]:
        """Those that are set."""
        return [path for path in (self.certificate, self.key, self.client_ca) if path is not None]


def server_credentials(settings: ServingSettings) -> grpc.ServerCredentials | None:
    """Credentials that follow the files of the settings; None = serve without TLS. Raises TlsError.

    New connections get the new certificate, those that are there keep theirs. With `tls_client_ca`,
    connections without a certificate of these CAs are refused.
    """
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    files = TlsFiles(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)
    reloader = _Reloader(files)
    # The stubs do not know that None means no change.
    fetch = cast(Callable[[], grpc.ServerCertificateConfiguration], reloader.fetch)
    return grpc.dynamic_ssl_server_credentials(
        reloader.current, fetch, require_client_authentication=files.client_ca is not None
    )


class _Reloader:
    """Called by gRPC at each new connection, from threads of its own."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._stamp = stamp(files.paths())
        self.current = _load(files)

    def fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """The new configuration if the files have changed and are usable, otherwise None: keep the last."""
        with self._lock:
            now = stamp(self._files.paths())
            if now == self._stamp:
                return None
            return self._reload(now)

    def _reload(self, now: Stamp) -> grpc.ServerCertificateConfiguration | None:
        # Noted first: files that are not usable are not tried, nor told of, at every connection.
        self._stamp = now
        try:
            self.current = _load(self._files)
        except TlsError as error:
            _log.error(
                "the TLS files have changed and are not usable; the last ones stay", problem=str(error)
            )
            return None
        _log.info("TLS certificate reloaded", certificate=str(self._files.certificate))
        return self.current


def _load(files: TlsFiles) -> grpc.ServerCertificateConfiguration:
    try:
        certificate, key = files.certificate.read_bytes(), files.key.read_bytes()
        client_ca = files.client_ca.read_bytes() if files.client_ca is not None else None
    except OSError as error:
        raise TlsError(f"cannot read {error.filename}: {error.strerror}") from None
    try:
        check_pair(files.certificate, files.key)
    except CredentialsError as error:
        raise TlsError(str(error)) from None
    if client_ca is not None:
        try:
            ssl.create_default_context(cadata=client_ca.decode("ascii", "replace"))
        except ssl.SSLError as error:
            raise TlsError(f"{files.client_ca} holds no PEM certificate ({error})") from None
    return grpc.ssl_server_certificate_configuration([(key, certificate)], client_ca)
