"""The server's side of TLS and mTLS: credentials from files, read again when the files change."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import cast

import grpc
import structlog

from clipsearch.channel.credentials import CredentialsError, check_pair, read_pem
from clipsearch.serving.security.file_watch import Watched
from clipsearch.serving.settings import ServingSettings

_log = structlog.get_logger(__name__)


def server_credentials(settings: ServingSettings) -> grpc.ServerCredentials | None:
    """Credentials that follow the files of the settings; None = serve without TLS. Raises CredentialsError.

    New connections get the new certificate, those that are there keep theirs. With `tls_client_ca`,
    connections without a certificate of these CAs are refused.
    """
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    reloader = _Reloader(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)
    # The stubs do not know that None means no change.
    fetch = cast(Callable[[], grpc.ServerCertificateConfiguration], reloader.fetch)
    return grpc.dynamic_ssl_server_credentials(
        reloader.current, fetch, require_client_authentication=settings.tls_client_ca is not None
    )


class _Reloader:
    """Called by gRPC at each new connection, from threads of its own."""

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None) -> None:
        self._paths = certificate, key, client_ca
        self._files = Watched(path for path in self._paths if path is not None)
        self._lock = threading.Lock()
        self.current = _load(*self._paths)

    def fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """The new configuration if the files have changed and are usable, otherwise None: keep the last."""
        with self._lock:
            # Files that are not usable are not tried, nor told of, again at the next connection.
            if not self._files.changed():
                return None
            try:
                self.current = _load(*self._paths)
            except CredentialsError as error:
                _log.error(
                    "the TLS files have changed and are not usable; the last ones stay", problem=str(error)
                )
                return None
            _log.info("TLS certificate reloaded", certificate=str(self._paths[0]))
            return self.current


def _load(certificate: Path, key: Path, client_ca: Path | None) -> grpc.ServerCertificateConfiguration:
    """From PEM files: the certificate chain, its key, and the CAs of clients (None = no mTLS)."""
    chain, private_key = read_pem(certificate), read_pem(key)
    check_pair(certificate, key)
    authorities = read_pem(client_ca) if client_ca is not None else None
    if authorities is not None:
        try:
            ssl.create_default_context(cadata=authorities.decode("ascii", "replace"))
        except ssl.SSLError as error:
            raise CredentialsError(f"{client_ca} holds no PEM certificate ({error})") from None
    return grpc.ssl_server_certificate_configuration([(private_key, chain)], authorities)
