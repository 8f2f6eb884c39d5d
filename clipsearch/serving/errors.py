"""The errors that callers meet, and their one mapping to `google.rpc.Status`.

Raise these where the fact is known. `reason` is stable and documented: callers may branch on it.
No path, stack trace or secret may get into a message.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from google.rpc import code_pb2, error_details_pb2, status_pb2

DOMAIN = "clipsearch"
# UTF-8 bytes of each text of an error. Together they travel in trailers, of which gRPC takes 8 KiB; what
# quotes a name of 100 KB would reach the caller as RESOURCE_EXHAUSTED.
_MOST_BYTES = 600


class ServiceError(Exception):
    """An error with a gRPC status. `reason` is UPPER_SNAKE_CASE; `metadata` holds the facts by name."""

    code: int = code_pb2.INTERNAL
    retry_after_s: float | None = None

    def __init__(self, message: str, reason: str, metadata: Mapping[str, str] | None = None) -> None:
        self.message = _short(message)
        super().__init__(self.message)
        self.reason = reason
        self.metadata = {name: _short(value) for name, value in (metadata or {}).items()}


class InvalidArgument(ServiceError):
    """The request is wrong whatever the state of the system. `field` is a path: `query[2].weight`."""

    code = code_pb2.INVALID_ARGUMENT

    def __init__(
        self,
        field: str,
        message: str,
        reason: str = "INVALID_FIELD",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        message = message.removeprefix(f"{field}: ")  # named once, however often it was passed on
        super().__init__(f"{field}: {message}", reason, {"field": field, **(metadata or {})})
        self.field = _short(field)
        self.description = _short(message)

    def inside(self, prefix: str) -> InvalidArgument:
        """The same error one level up: `weight` inside `query[2]` is `query[2].weight`."""
        return self.at(f"{prefix}.{self.field}")

    def at(self, field: str) -> InvalidArgument:
        """The same error, told of `field`: for one that was found where no field is known."""
        known = {name: value for name, value in self.metadata.items() if name != "field"}
        return InvalidArgument(field, self.description, self.reason, known)


class NotFound(ServiceError):
    """A collection, alias or point does not exist."""

    code = code_pb2.NOT_FOUND

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"{kind} {name!r} does not exist", f"{_upper(kind)}_NOT_FOUND", {kind: name})


class AlreadyExists(ServiceError):
    """A name is taken."""

    code = code_pb2.ALREADY_EXISTS

    def __init__(self, kind: str, name: str, taken_by: str | None = None) -> None:
        suffix = f" as {taken_by}" if taken_by else ""
        super().__init__(f"{kind} {name!r} exists already{suffix}", f"{_upper(kind)}_EXISTS", {kind: name})


class FailedPrecondition(ServiceError):
    """The request is right, but not for the state the system is in."""

    code = code_pb2.FAILED_PRECONDITION


class CollectionDamaged(FailedPrecondition):
    """A collection whose files cannot be used. `damage` says which, by their place in the data directory."""

    def __init__(self, collection: str, damage: str) -> None:
        super().__init__(
            f"collection {collection!r} is damaged: {damage}",
            "COLLECTION_DAMAGED",
            {"collection": collection, "damage": damage},
        )
        self.collection = collection
        self.damage = damage


class FingerprintMismatch(FailedPrecondition):
    """Vectors of another model's space."""

    def __init__(self, collection: str, expected: str, actual: str, whose: str = "the encoder") -> None:
        super().__init__(
            f"collection {collection!r} holds vectors of model fingerprint {expected}, {whose} has {actual}: "
            "vectors of different models cannot be compared",
            "FINGERPRINT_MISMATCH",
            {"collection": collection, "collection_fingerprint": expected, "request_fingerprint": actual},
        )


class ResourceExhausted(ServiceError):
    """Too much at once; try again after `retry_after_s` seconds."""

    code = code_pb2.RESOURCE_EXHAUSTED

    def __init__(self, message: str, reason: str, retry_after_s: float) -> None:
        super().__init__(message, reason)
        self.retry_after_s = retry_after_s


class Unauthenticated(ServiceError):
    """The caller did not say who it is, or nobody known."""

    code = code_pb2.UNAUTHENTICATED


class PermissionDenied(ServiceError):
    """The caller is known and may not do this."""

    code = code_pb2.PERMISSION_DENIED


class DeadlineExceeded(ServiceError):
    """The caller's deadline passed, or would have, before the work was done."""

    code = code_pb2.DEADLINE_EXCEEDED

    def __init__(self, message: str = "the deadline passed before the work was done") -> None:
        super().__init__(message, "DEADLINE_EXCEEDED")


class Unavailable(ServiceError):
    """A dependency (`encoder` or `store`) or this server itself cannot answer now; retrying is safe.

    `retry_after_s` is set where this service has tried in vain for its caller: a caller that tried
    again at once would only multiply the calls. None = another replica may answer right away.
    """

    code = code_pb2.UNAVAILABLE

    def __init__(self, dependency: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message, f"{_upper(dependency)}_UNAVAILABLE", {"dependency": dependency})
        self.retry_after_s = retry_after_s


@contextmanager
def inside(path: str) -> Iterator[None]:
    """Errors of the block are told as lying inside `path`, such as `searches[2]`; "" changes nothing."""
    try:
        yield
    except InvalidArgument as error:
        raise (error.inside(path) if path else error) from None
    except ServiceError as error:
        if path:
            error.message = f"{path}: {error.message}"
            error.metadata = {**error.metadata, "field": path}
        raise


def to_status(error: ServiceError) -> status_pb2.Status:
    """The error as it travels: in a call's trailers or inside one item's result."""
    status = status_pb2.Status(code=error.code, message=error.message)
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    status.details.add().Pack(info)
    if isinstance(error, InvalidArgument):
        violation = {"field": error.field, "description": error.description}
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    if error.retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(max(1, round(error.retry_after_s * 1000)))
        status.details.add().Pack(retry)
    return status


def _short(text: str) -> str:
    data = text.encode("utf-8", "replace")
    if len(data) <= _MOST_BYTES:
        return text
    return data[:_MOST_BYTES].decode("utf-8", "ignore") + "..."


def _upper(words: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", words).upper()
