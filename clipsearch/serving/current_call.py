"""The call that is being served: its id, the caller's own if it sends one, and what else the log names."""

from __future__ import annotations

import random
import string
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass

import structlog

from clipsearch.serving.security.tokens import Tenant

KEY = "x-request-id"

# Only what can neither forge a line of the log nor flood it.
_ALLOWED, _LONGEST = string.ascii_letters + string.digits + "_.:/+=-", 128
_TRACE_ID_DIGITS = 32


@dataclass(slots=True)
class CurrentCall:
    """A call in progress; `caller` is known once it is let in, `trace_id` where there is a trace.

    `tenant`: whom its token restricts it to, None = nobody.
    """

    method: str
    request_id: str
    trace_id: str | None = None
    caller: str | None = None
    tenant: Tenant | None = None


# gRPC runs each call in a task, and so in a context, of its own.
_current: ContextVar[CurrentCall | None] = ContextVar("current_call", default=None)


def begin_call(method: str, metadata: Iterable[tuple[str, str | bytes]], trace_id: str | None) -> CurrentCall:
    """The call that this task serves from now on. Without a tracer's trace id it has the caller's."""
    given = dict(metadata)
    call = CurrentCall(method, _request_id(given.get(KEY)), trace_id or _trace_id(given.get("traceparent")))
    _current.set(call)
    return call


def current_call() -> CurrentCall | None:
    """The call that this task serves, None = none."""
    return _current.get()


def current_tenant() -> Tenant | None:
    """Whom the call is restricted to, None = nobody."""
    call = _current.get()
    return None if call is None else call.tenant


def forwarded() -> tuple[tuple[str, str], ...]:
    """Metadata for calls made on behalf of this one, so that the next service logs the same id."""
    call = _current.get()
    return ((KEY, call.request_id),) if call is not None else ()


def name_call(
    _logger: structlog.types.WrappedLogger, _method: str, event: structlog.types.EventDict
) -> structlog.types.EventDict:
    """Adds to a line of the log on whose behalf it is written."""
    call = _current.get()
    if call is not None:
        for name in ("method", "request_id", "trace_id", "caller"):
            value = getattr(call, name)
            if value is not None:
                event.setdefault(name, value)
    return event


def _request_id(given: str | bytes | None) -> str:
    """The caller's id if it has one that may be logged, else a new one: 32 hexadecimal digits."""
    if isinstance(given, str) and given and len(given) <= _LONGEST and not given.strip(_ALLOWED):
        return given
    # Not the system's randomness, which gives up the interpreter's lock: an id need not be a secret.
    return f"{random.getrandbits(128):032x}"


def _trace_id(traceparent: str | bytes | None) -> str | None:
    """The trace id in a `traceparent` header (version-trace-parent-flags)."""
    parts = traceparent.split("-") if isinstance(traceparent, str) else []
    if len(parts) < 4 or len(parts[1]) != _TRACE_ID_DIGITS or parts[1].strip("0123456789abcdef"):
        return None
    return parts[1]
