"""Settings from flags and environment, checked before anything starts.

A flag beats the environment, the environment beats the default. A name with our prefix that no
setting has is an error: a misspelt variable must not be ignored.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

SettingsT = TypeVar("SettingsT", bound="ServingSettings")


class SettingsError(Exception):
    """The settings are not usable; the message names each variable, its value and what is wrong."""


class ServingSettings(BaseSettings):
    """What both services can be told about serving. Subclasses add `env_prefix` and their own."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True)

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=0, ge=0, le=65535, description="port to listen on; 0 = any free one")
    port_file: Path | None = Field(
        default=None, description="file to write host:port into once the service is SERVING"
    )
    max_message_bytes: int = Field(
        default=64 * 1024 * 1024, ge=1024 * 1024, le=1024**3, description="largest request and answer, bytes"
    )
    max_concurrent_rpcs: int = Field(
        default=512, ge=1, description="calls in progress; further ones get RESOURCE_EXHAUSTED"
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
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least severe level that is logged"
    )
    log_format: Literal["auto", "text", "json"] = Field(
        default="auto", description="auto = text on a terminal, JSON lines elsewhere"
    )


def load_settings(cls: type[SettingsT], **overrides: Any) -> SettingsT:
    """Reads the environment, then applies `overrides` (None = not given).

    Raises SettingsError with one line for each variable that is unknown or not valid.
    """
    _reject_unknown(cls)
    try:
        return cls(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        lines = [
            f"{_variable(cls, item['loc'])}: {item['msg']} (got {item.get('input')!r})"
            for item in error.errors()
        ]
        raise SettingsError("\n".join(lines)) from None


def environment_names(cls: type[ServingSettings]) -> dict[str, str]:
    """Setting -> name of its environment variable."""
    prefix = cls.model_config.get("env_prefix", "")
    return {name: _alias(field) or f"{prefix}{name}".upper() for name, field in cls.model_fields.items()}


def _alias(field: FieldInfo) -> str | None:
    return field.validation_alias if isinstance(field.validation_alias, str) else None


def _variable(cls: type[ServingSettings], location: tuple[int | str, ...]) -> str:
    name = str(location[0]) if location else ""
    return environment_names(cls).get(name, name)


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
