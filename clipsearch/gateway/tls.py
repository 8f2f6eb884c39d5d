"""TLS of the gateway's callers, and TLS to the services."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from clipsearch.channel.credentials import ClientTls, CredentialsError
from clipsearch.gateway.fields import TYPES, Json, typed
from clipsearch.gateway.settings import GatewaySettings


def from_callers(settings: GatewaySettings, folder: Path) -> Json:
    """For the listener; nothing without a certificate."""
    if settings.tls_certificate is None:
        return {}
    certificates = {"alpn_protocols": ["h2", "http/1.1"], **_named("server", folder)}
    return _socket("DownstreamTlsContext", common_tls_context=certificates)


def to_services(shown: ClientTls | None, hosts: list[str], folder: Path) -> Json:
    """For the cluster of `hosts`; nothing in plain text. Raises CredentialsError without CAs to trust."""
    if shown is None:
        return {}
    ca = shown.ca or ssl.get_default_verify_paths().cafile
    if ca is None:
        raise CredentialsError("this machine has no CA certificates of its own; set CLIPSEARCH_TLS_CA")
    names = [shown.server_name] if shown.server_name else sorted(set(hosts))
    trusted = {
        "trusted_ca": {"filename": str(ca)},
        "match_typed_subject_alt_names": [_alternative_name(name.strip("[]")) for name in names],
    }
    own = {} if shown.certificate is None else _named("client", folder)
    common = {"alpn_protocols": ["h2"], "validation_context": trusted, **own}
    return _socket("UpstreamTlsContext", sni=names[0], common_tls_context=common)


def secrets(settings: GatewaySettings) -> dict[str, Json]:
    """The certificates, in files of their own: only what Envoy finds so is read again when it changes."""
    pairs = {"server": (settings.tls_certificate, settings.tls_key)}
    if settings.upstream_tls is not None:
        pairs["client"] = (settings.upstream_tls.certificate, settings.upstream_tls.key)
    files: dict[str, Json] = {}
    for name, (certificate, key) in pairs.items():
        if certificate is not None and key is not None:
            pair = {
                "certificate_chain": {"filename": str(certificate.absolute())},
                "private_key": {"filename": str(key.absolute())},
                "watched_directory": {"path": str(certificate.absolute().parent)},
            }
            kind = f"{TYPES}transport_sockets.tls.v3.Secret"
            files[f"{name}.json"] = {"resources": [{"@type": kind, "name": name, "tls_certificate": pair}]}
    return files


def _named(name: str, folder: Path) -> Json:
    source = {"path_config_source": {"path": str(folder / f"{name}.json")}, "resource_api_version": "V3"}
    return {"tls_certificate_sds_secret_configs": [{"name": name, "sds_config": source}]}


def _alternative_name(name: str) -> Json:
    is_address = name.replace(".", "").isdigit() or ":" in name
    return {"san_type": "IP_ADDRESS" if is_address else "DNS", "matcher": {"exact": name}}


def _socket(kind: str, **fields: Any) -> Json:
    return {
        "transport_socket": typed("envoy.transport_sockets.tls", f"transport_sockets.tls.v3.{kind}", **fields)
    }
