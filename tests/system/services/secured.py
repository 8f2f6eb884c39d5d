"""Certificates and tokens as an operator gives them to the services."""

from __future__ import annotations

from pathlib import Path

import trustme

from clipsearch import ClientTls
from clipsearch.serving.security.tokens import Grant, create_token, line, sha256


def grant(file: Path, name: str, *scopes: str) -> str:
    """Adds a line to a tokens file; returns its token."""
    token = create_token()
    with file.open("a") as tokens:
        tokens.write(line(Grant(name=name, sha256=sha256(token), scopes=scopes)) + "\n")
    return token


class Secured:
    """A CA, the files of a server certificate for 127.0.0.1, and tokens files."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        self.ca, self.certificate, self.key = folder / "ca.pem", folder / "crt.pem", folder / "key.pem"
        authority.cert_pem.write_to_path(self.ca)
        issued.cert_chain_pems[0].write_to_path(self.certificate)
        issued.private_key_pem.write_to_path(self.key)
        self.encoder_tokens, self.search_tokens = folder / "encoder-tokens", folder / "search-tokens"
        self.search_to_encoder = grant(self.encoder_tokens, "search", "encode")
        self.caller = grant(self.encoder_tokens, "caller", "encode")
        self.search_tokens.write_text(
            line(Grant(name="caller", sha256=sha256(self.caller), scopes=["search", "write", "admin"])) + "\n"
        )

    @property
    def tls(self) -> ClientTls:
        return ClientTls(ca=self.ca)

    def server(self, prefix: str, tokens: Path) -> dict[str, str]:
        return {
            f"{prefix}_TLS_CERTIFICATE": str(self.certificate),
            f"{prefix}_TLS_KEY": str(self.key),
            f"{prefix}_TOKENS_FILE": str(tokens),
            f"{prefix}_LOG_LEVEL": "debug",
            f"{prefix}_METRICS_PORT": "0",
        }
