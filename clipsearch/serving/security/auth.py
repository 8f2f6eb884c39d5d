"""Who calls, and whether it may: bearer tokens and client certificates against the tokens file.

Health is open, reflection wants any valid token, every other call the scope that `permissions` names.
A caller is refused before its request is read, except for the collections that the request names: whoever
reads it has to apply `receiving.request_check`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import grpc
import structlog

from clipsearch.serving.errors import PermissionDenied, ResourceExhausted, ServiceError, Unauthenticated
from clipsearch.serving.receiving.interceptor import request_check
from clipsearch.serving.security.permissions import PERMISSIONS, Permission
from clipsearch.serving.security.rate import RateLimit
from clipsearch.serving.security.tokens import Grant, Grants
from clipsearch.serving.wrapping import HEALTH, Call, Context, Continuation, Handler, refuse, wrap

REFLECTION = ("/grpc.reflection.v1alpha.ServerReflection/", "/grpc.reflection.v1.ServerReflection/")

Guard: TypeAlias = Callable[[Call], Call]
Check: TypeAlias = Callable[[Any], None]

_log = structlog.get_logger(__name__)


class AuthInterceptor(grpc.aio.ServerInterceptor):
    """Lets in whom `grants` names; `rate_per_s` is for grants without a rate (0 = no limit)."""

    def __init__(self, grants: Grants, rate_per_s: float = 0.0) -> None:
        self._grants = grants
        self._rate_per_s = rate_per_s
        self._rates: dict[str, RateLimit] = {}

    async def intercept_service(  # noqa: D102
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        method = handler_call_details.method
        handler = await continuation(handler_call_details)
        if handler is None or method.startswith(HEALTH):
            return handler
        token = _token(handler_call_details)
        try:
            if method.startswith(REFLECTION):
                self._known(token)
                return handler
            permission = _permission(method)
            if handler.response_streaming:
                raise PermissionDenied(f"{method} is a stream, which is not guarded here", "SCOPE_MISSING")
            if token is None and self._grants.knows_certificates:
                # The certificate is not to be seen before the call begins.
                guard = self._by_certificate(method, permission)
            else:
                grant = self._known(token)
                self._admit(grant, method, permission)
                guard = _checking(_collections_check(grant, permission))
        except ServiceError as error:
            _log.debug("call refused", reason=error.reason)
            return refuse(error)
        return wrap(handler, guard)

    def _by_certificate(self, method: str, permission: Permission) -> Guard:
        def guard(call: Call) -> Call:
            async def checked(request: Any, context: Context) -> Any:
                grant = self._grants.of_certificate(_identities(context))
                if grant is None:
                    raise Unauthenticated("no token, and no certificate that is known here", "TOKEN_MISSING")
                self._admit(grant, method, permission)
                request_check.set(_collections_check(grant, permission))
                return await call(request, context)

            return checked

        return guard

    def _known(self, token: str | None) -> Grant:
        if token is None:
            raise Unauthenticated("the metadata has no `authorization: Bearer TOKEN`", "TOKEN_MISSING")
        grant = self._grants.of_token(token)
        if grant is None:
            raise Unauthenticated("the token is not known here", "TOKEN_UNKNOWN")
        return grant

    def _admit(self, grant: Grant, method: str, permission: Permission) -> None:
        structlog.contextvars.bind_contextvars(caller=grant.name)
        if permission.scope not in grant.scopes:
            raise PermissionDenied(
                f"{method} needs the scope {permission.scope}, {grant.name!r} has "
                f"{', '.join(sorted(grant.scopes))}",
                "SCOPE_MISSING",
                {"scope": permission.scope},
            )
        self._take(grant)

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


def _checking(check: Check | None) -> Guard:
    """About a call whose request must pass the check once it has come."""

    def guard(call: Call) -> Call:
        async def checked(request: Any, context: Context) -> Any:
            request_check.set(check)
            return await call(request, context)

        return checked

    return guard


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


def _permission(method: str) -> Permission:
    permission = PERMISSIONS.get(method)
    if permission is None:
        raise PermissionDenied(f"{method} is open to no token", "SCOPE_MISSING")
    return permission


def _token(details: grpc.HandlerCallDetails) -> str | None:
    shown = [str(value) for key, value in details.invocation_metadata or () if key == "authorization"]
    if len(shown) != 1:  # of two, a proxy in between may have checked the other
        return None
    kind, _, token = shown[0].partition(" ")
    return token.strip() if kind.lower() == "bearer" else None


def _identities(context: Context) -> Iterable[str]:
    """The names of the client's certificate: subject alternative names, else the common name."""
    return [identity.decode("utf-8", "replace") for identity in context.peer_identities() or ()]
