"""Who calls, and whether it may: bearer tokens and client certificates against the tokens file.

Reflection wants any valid token, every call the scope that `permissions` names. A caller is judged before its
request is read, except for the collections that the request names.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import grpc

from clipsearch.serving.errors import PermissionDenied, ResourceExhausted, Unauthenticated
from clipsearch.serving.security.permissions import PERMISSIONS, Permission
from clipsearch.serving.security.tokens import Grant, Grants
from clipsearch.serving.service import Check

REFLECTION = ("/grpc.reflection.v1alpha.ServerReflection/", "/grpc.reflection.v1.ServerReflection/")

Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]


class RateLimit:
    """A token bucket: fills with `rate_per_s`, holds one second's worth (at least one call)."""

    def __init__(self, rate_per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate_per_s = rate_per_s
        self._size = max(1.0, rate_per_s)
        self._clock = clock
        self._filled = self._size
        self._at = clock()

    def take(self) -> float:
        """Takes one call: 0 = go ahead; otherwise the seconds until there is one, and nothing is taken."""
        now = self._clock()
        self._filled = min(self._size, self._filled + (now - self._at) * self.rate_per_s)
        self._at = now
        if self._filled >= 1.0:
            self._filled -= 1.0
            return 0.0
        return (1.0 - self._filled) / self.rate_per_s


class Guard:
    """Lets in whom `grants` names; `rate_per_s` is for grants without a rate (0 = no limit)."""

    def __init__(self, grants: Grants, rate_per_s: float = 0.0) -> None:
        self._grants = grants
        self._rate_per_s = rate_per_s
        self._rates: dict[str, RateLimit] = {}

    def authorise(
        self, method: str, metadata: Metadata, context: grpc.aio.ServicerContext[Any, Any]
    ) -> tuple[Grant, Check | None]:
        """The grant of a caller that may make the call, and what its request has to pass, if anything.

        Raises Unauthenticated, PermissionDenied and ResourceExhausted.
        """
        permission = PERMISSIONS.get(method)
        if permission is None:
            raise PermissionDenied(f"{method} is open to no token", "SCOPE_MISSING")
        token = _token(metadata)
        if token is None and self._grants.knows_certificates:
            # Of the client's certificate: subject alternative names, else the common name.
            names = [name.decode("utf-8", "replace") for name in context.peer_identities() or ()]
            grant = self._grants.of_certificate(names)
            if grant is None:
                raise Unauthenticated("no token, and no certificate that is known here", "TOKEN_MISSING")
        else:
            grant = self._known(token)
        if permission.scope not in grant.scopes:
            raise PermissionDenied(
                f"{method} needs the scope {permission.scope}, {grant.name!r} has "
                f"{', '.join(sorted(grant.scopes))}",
                "SCOPE_MISSING",
                {"scope": permission.scope},
            )
        if grant.tenant is not None and not permission.tenants:
            raise PermissionDenied(
                f"{method} is open to no tenant, {grant.name!r} is restricted to one", "TENANT_FORBIDDEN"
            )
        self._take(grant)
        return grant, _collections_check(grant, permission)

    def authorise_stream(self, method: str, metadata: Metadata) -> None:
        """Raises Unauthenticated, or PermissionDenied for any stream but reflection's."""
        if not method.startswith(REFLECTION):
            raise PermissionDenied(f"{method} is a stream, which is not guarded here", "SCOPE_MISSING")
        self._known(_token(metadata))

    def _known(self, token: str | None) -> Grant:
        if token is None:
            raise Unauthenticated("the metadata has no `authorization: Bearer TOKEN`", "TOKEN_MISSING")
        grant = self._grants.of_token(token)
        if grant is None:
            raise Unauthenticated("the token is not known here", "TOKEN_UNKNOWN")
        return grant

    def _take(self, grant: Grant) -> None:
        rate = grant.rate_per_s or self._rate_per_s
        if not rate:
            return
        limit = self._rates.get(grant.name)
        if limit is None or limit.rate_per_s != rate:
            limit = self._rates[grant.name] = RateLimit(rate)
        wait = limit.take()
        if wait:
            raise ResourceExhausted(
                f"{grant.name!r} may make {rate:g} calls a second", "RATE_LIMITED", retry_after_s=wait
            )


def _collections_check(grant: Grant, permission: Permission) -> Check | None:
    allowed = grant.collections
    if allowed is None:
        return None

    def check(request: Any) -> None:
        if permission.collections is None:
            raise PermissionDenied(
                f"{grant.name!r} is restricted to collections, this call reaches all", "COLLECTION_FORBIDDEN"
            )
        for name in permission.collections(request):
            if name not in allowed:
                raise PermissionDenied(
                    f"{grant.name!r} may not reach collection {name!r}",
                    "COLLECTION_FORBIDDEN",
                    {"collection": name},
                )

    return check


def _token(metadata: Metadata) -> str | None:
    shown = [str(value) for key, value in metadata if key == "authorization"]
    if len(shown) != 1:  # of two, a proxy in between may have checked the other
        return None
    kind, _, token = shown[0].partition(" ")
    return token.strip() if kind.lower() == "bearer" else None
