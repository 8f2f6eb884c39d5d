"""Settings from flags, environment and file, checked before anything starts.

A flag beats the environment, the environment beats the file, the file beats the default. A name with
our prefix that no setting has is an error: a misspelt variable must not be ignored.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from clipsearch.channel.connection import is_loopback

SettingsT = TypeVar("SettingsT", bound="ServingSettings")


MIB = 1024 * 1024
MASK = "********"


class SettingsError(Exception):
    """The settings are not usable; the message names each variable, its value and what is wrong."""


class ServingSettings(BaseSettings):
    """What both services can be told about serving. Subclasses add `env_prefix` and their own."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True)

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=0, ge=0, le=65535, description="port to listen on; 0 = any free one")
    port_file: Path | None = Field(default=None, description="file to write host:port into once it serves")
    max_message_bytes: int = Field(
        default=64 * 1024 * 1024, ge=1024 * 1024, le=1024**3, description="largest request and answer, bytes"
    )
    max_concurrent_rpcs: int = Field(
        default=512,
        ge=1,
        description="calls whose request arrives or is answered; further ones get RESOURCE_EXHAUSTED",
    )
    request_memory_mb: int = Field(
        default=256,
        ge=8,
        le=64 * 1024,
        description="memory of all requests that arrive or are answered, MiB; further ones wait, and those "
        "that are long on their way give way",
    )
    default_deadline_s: float = Field(
        default=60.0, gt=0, le=3600, description="seconds that a call gets whose caller sets no deadline"
    )
    max_connection_age_s: float = Field(
        default=1800.0,
        ge=1,
        description="seconds (give or take 10 %) after which a client must connect again, "
        "so that new replicas get traffic",
    )
    max_connection_age_grace_s: float = Field(
        default=60.0, ge=1, description="seconds that calls get to finish on a connection that is too old"
    )
    drain_delay_s: float = Field(
        default=0.0,
        ge=0,
        le=300,
        description="seconds between NOT_SERVING and refusing new calls at shutdown",
    )
    drain_grace_s: float = Field(
        default=20.0, ge=0, le=600, description="seconds that calls in flight get to finish at shutdown"
    )
    reflection: bool = Field(
        default=True, description="serve gRPC reflection, so that grpcurl needs no protos"
    )

    tls_certificate: Path | None = Field(
        default=None, description="PEM file of the server's certificate chain; reloaded when it changes"
    )
    tls_key: Path | None = Field(
        default=None, description="PEM file of the certificate's private key; reloaded when it changes"
    )
    tls_client_ca: Path | None = Field(
        default=None, description="PEM file of the CAs that clients' certificates must come from (mTLS)"
    )
    insecure: bool = Field(default=False, description="listen without TLS on an address that is not loopback")
    tokens_file: Path | None = Field(
        default=None,
        description="file of the tokens and certificates that may call; closes all but health to others",
    )
    token_rate_per_s: float = Field(
        default=0.0,
        ge=0,
        description="calls a second for each token that has no rate of its own; 0 = no limit",
    )

    metrics_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="HTTP port of Prometheus metrics and of health for probes; 0 = any free one; unset = off",
    )
    otlp_endpoint: str | None = Field(
        default=None,
        description="http(s)://host:port of the OTLP/gRPC collector that gets traces; unset = off",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least severe level that is logged"
    )
    log_format: Literal["auto", "text", "json"] = Field(
        default="auto", description="auto = text on a terminal, JSON lines elsewhere"
    )

    settings_file: Path | None = Field(
        default=None, description="file of NAME=value lines with the names of this table"
    )

    @property
    def most_request_memory(self) -> int:
        """Bytes that one request may take when it is parsed: a message of the largest size always may."""
        return max(self.request_memory_mb * MIB, 2 * self.max_message_bytes)

    @property
    def most_elements(self) -> Mapping[str, int]:
        """Elements of the lists in requests, by the full names of their fields."""
        return {}

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        names = environment_names(type(self))
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError(
                f"{names['tls_certificate']} and {names['tls_key']} belong together, one is not set"
            )
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError(
                f"{names['tls_client_ca']} needs {names['tls_certificate']} and {names['tls_key']}"
            )
        if self.tls_certificate is None and not self.insecure and not is_loopback(self.host):
            raise ValueError(
                f"{names['host']}={self.host} can be reached from other machines: set "
                f"{names['tls_certificate']} and {names['tls_key']}, or {names['insecure']}=true"
            )
        return self


def load_settings(cls: type[SettingsT], **overrides: Any) -> SettingsT:
    """Reads the settings file if there is one, then the environment, then `overrides` (None = not given).

    Raises SettingsError with one line for each variable that is unknown or not valid.
    """
    _reject_unknown(cls)
    given = {name: value for name, value in overrides.items() if value is not None}
    file = given.get("settings_file") or os.environ.get(environment_names(cls)["settings_file"])
    if file is not None and not Path(file).is_file():
        raise SettingsError(f"{environment_names(cls)['settings_file']}: there is no file {str(file)!r}")
    try:
        return cls(_env_file=file, **given)
    except ValidationError as error:
        raise SettingsError("\n".join(_line(cls, item) for item in error.errors())) from None


def environment_names(cls: type[ServingSettings]) -> dict[str, str]:
    """Setting -> name of its environment variable."""
    prefix = cls.model_config.get("env_prefix", "")
    fields = cls.model_fields.items()
    return {name: str(field.validation_alias or f"{prefix}{name}".upper()) for name, field in fields}


def _line(cls: type[ServingSettings], item: ErrorDetails) -> str:
    """One problem in one line that names the variable."""
    if not item["loc"]:
        return item["msg"].removeprefix("Value error, ")
    name = str(item["loc"][0])
    names = environment_names(cls)
    if item["type"] == "extra_forbidden":
        return f"{name.upper()}: no such setting{_hint(name, set(names.values()))}"
    kind = cls.model_fields[name].annotation if name in cls.model_fields else None
    is_secret = SecretStr in (kind, *getattr(kind, "__args__", ()))
    got = "" if is_secret else f" (got {item.get('input')!r})"
    return f"{names.get(name, name)}: {item['msg']}{got}"


def _reject_unknown(cls: type[ServingSettings]) -> None:
    prefix = cls.model_config.get("env_prefix", "").upper()
    known = set(environment_names(cls).values())
    unknown = sorted(
        name for name in os.environ if name.upper().startswith(prefix) and name.upper() not in known
    )
    if prefix and unknown:
        raise SettingsError("\n".join(f"{name}: no such setting{_hint(name, known)}" for name in unknown))


def _hint(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name.upper(), known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def markdown_table(cls: type[ServingSettings]) -> str:
    """A row for each setting of `cls`: variable, default, meaning. docs/settings.md is made of it."""
    names, rows = environment_names(cls), ["| Variable | Default | Meaning |", "|---|---|---|"]
    for name, field in cls.model_fields.items():
        default = _written(field.get_default())
        rows.append(f"| `{names[name]}` | {f'`{default}`' if default else ''} | {field.description or ''} |")
    return "\n".join(rows) + "\n"


def effective(settings: ServingSettings) -> dict[str, str]:
    """Variable -> value in effect, as it would be written; secrets are masked, "" = not set."""
    names = environment_names(type(settings))
    return {variable: _written(getattr(settings, name)) for name, variable in names.items()}


def _written(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return MASK if value.get_secret_value() else ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
