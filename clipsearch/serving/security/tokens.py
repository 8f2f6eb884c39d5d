"""The file of who may call: one JSON object a line, reloaded when it changes.

    {"name": "indexer-2026", "sha256": "9f86d0...", "scopes": ["search", "write"], "collections": ["photos"]}
    {"name": "gateway", "certificate": "gateway.example.com", "scopes": ["search"], "rate_per_s": 200}
    {"name": "acme", "sha256": "60...", "scopes": ["search"], "tenant": {"field": "shop", "value": "acme"}}

A token is 32 random bytes, so its plain SHA-256 cannot be turned back by guessing: a slow password
hash would cost every call milliseconds and protect nothing more. Two lines for one caller let its
token be changed without a gap.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

import structlog
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from clipsearch.serving.security.file_watch import POLL_S, Watched
from clipsearch.serving.service import StartError

_log = structlog.get_logger(__name__)


class Scope(StrEnum):
    """What a token may do. None includes another."""

    ENCODE = "encode"
    SEARCH = "search"
    WRITE = "write"
    ADMIN = "admin"


class Tenant(BaseModel):
    """Restricts a caller to the points whose payload has `value` in its top-level field `field`.

    The value stands before a tenant's ids in the store, up to the first slash.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    field: Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,127}$")]
    value: Annotated[str, StringConstraints(pattern=r"^[^/\x00-\x1f\x7f]{1,128}$")]


class Grant(BaseModel):
    """One line: who (a token by its hash, or a client certificate by its name) may do what, where."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.@:/-]+$")]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    # A subject alternative name of the client's certificate; the common name if it has none.
    certificate: Annotated[str, StringConstraints(min_length=1)] | None = None
    scopes: frozenset[Scope] = Field(min_length=1)
    # Collections and aliases, as requests name them; None = all.
    collections: frozenset[str] | None = Field(default=None, min_length=1)
    rate_per_s: float | None = Field(default=None, gt=0)
    tenant: Tenant | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.sha256 is None) == (self.certificate is None):
            raise ValueError("sha256 or certificate, one of the two")
        if self.tenant is not None and Scope.ADMIN in self.scopes:
            raise ValueError("a tenant cannot have the scope admin: collections are not one tenant's")
        return self


class Grants:
    """The grants of a file, in force until the file is replaced by another that is valid."""

    def __init__(self, path: Path) -> None:
        """Reads the file. Raises StartError, which names file and line and never a hash."""
        self._path = path
        self._file = Watched([path])
        self._grants = read_grants(path)

    def of_token(self, token: str) -> Grant | None:
        """The grant of a token. Takes as long whichever it is, and whether there is one or not."""
        digest = sha256(token)
        found = None
        for grant in self._grants:
            if grant.sha256 is not None and hmac.compare_digest(grant.sha256, digest):
                found = grant
        return found

    def of_certificate(self, identities: Iterable[str]) -> Grant | None:
        """The grant of a client's certificate that TLS has verified, by any of its names."""
        names = set(identities)
        return next((grant for grant in self._grants if grant.certificate in names), None)

    @property
    def knows_certificates(self) -> bool:
        """Whether a caller without a token may be known by its certificate."""
        return any(grant.certificate is not None for grant in self._grants)

    async def watch(self) -> None:
        """Reloads the file when it changes, for ever. One that is missing or not valid changes nothing."""
        while True:
            await asyncio.sleep(POLL_S)
            await asyncio.to_thread(self.reload)

    def reload(self) -> None:
        """Reads the file if it has changed."""
        if not self._file.changed():
            return
        try:
            self._grants = read_grants(self._path)
        except StartError as error:
            _log.error(
                "the tokens file has changed and is not usable; the last one stays", problem=str(error)
            )
            return
        _log.info("tokens reloaded", grants=len(self._grants))


def read_grants(path: Path) -> tuple[Grant, ...]:
    """The grants of a file; empty lines and lines that start with # are left out. Raises StartError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"cannot read {path}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
    grants: list[Grant] = []
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            grants.append(_parse(line, f"{path}, line {number}"))
    _check_distinct(grants, path)
    return tuple(grants)


def create_token() -> str:
    """A new token: 32 random bytes as text."""
    return f"cs_{secrets.token_urlsafe(32)}"


def sha256(token: str) -> str:
    """What a tokens file holds of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def line(grant: Grant) -> str:
    """The grant as a line of the file."""
    return json.dumps(grant.model_dump(mode="json", exclude_none=True))


def _parse(text: str, where: str) -> Grant:
    try:
        return Grant.model_validate_json(text)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'the line'}: {item['msg']}" for item in error.errors()
        )
        raise StartError(f"{where}: {problems}") from None


def _check_distinct(grants: Sequence[Grant], path: Path) -> None:
    for kind in ("name", "sha256", "certificate"):
        seen: set[str] = set()
        for grant in grants:
            value = getattr(grant, kind)
            if value in seen:
                raise StartError(f"{path}: {grant.name!r} has the {kind} of another line")
            if value is not None:
                seen.add(value)
    fields = {grant.tenant.field: grant.name for grant in grants if grant.tenant is not None}
    if len(fields) > 1:  # or two tenants of one value would share ids
        said = " and ".join(f"{field!r} ({name!r})" for field, name in fields.items())
        raise StartError(f"{path}: one field tells tenants apart, here are {said}")
