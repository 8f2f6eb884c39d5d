"""What qdrant-client raises, as our errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from qdrant_client import models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from clipsearch.serving.errors import (
    AlreadyExists,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    ServiceError,
    Unavailable,
)

_BUSY_RETRY_S = 1.0


@contextmanager
def store_errors(collection: str = "") -> Iterator[None]:
    """Maps the client's exceptions; anything it does not know passes unchanged."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise _from_code(error.code(), error.details() or "", collection) or error from error
    except UnexpectedResponse as error:
        raise _from_http(error.status_code, collection) or error from error
    except ResourceExhaustedResponse as error:
        raise ResourceExhausted(
            "the store is busy", "STORE_BUSY", retry_after_s=error.retry_after_s
        ) from error
    except ResponseHandlingException as error:
        raise Unavailable("store", "the store cannot be reached") from error
    except ValueError as error:  # how qdrant-client's local mode says it
        if "not found" not in str(error):
            raise
        raise NotFound("collection", collection) from error


def check_done(result: models.UpdateResult) -> None:
    """Raises DeadlineExceeded: a server told to wait may give up waiting; the write goes on there."""
    if result.status != models.UpdateStatus.COMPLETED:
        raise DeadlineExceeded("the store has taken the write, but not finished it in time")


def _from_code(code: grpc.StatusCode, details: str, collection: str) -> ServiceError | None:
    match code:
        case grpc.StatusCode.ALREADY_EXISTS:
            return AlreadyExists("collection", collection)
        case grpc.StatusCode.INVALID_ARGUMENT if "already exists" in details:
            return AlreadyExists("collection", collection)
        case grpc.StatusCode.INVALID_ARGUMENT:
            return InvalidArgument("request", f"the store refuses it: {details}", "STORE_REFUSED")
        case grpc.StatusCode.NOT_FOUND:
            return NotFound("collection", collection)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded("the store did not answer in time")
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return ResourceExhausted("the store is busy", "STORE_BUSY", retry_after_s=_BUSY_RETRY_S)
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED:  # by the server, as it goes
            return Unavailable("store", "the store cannot be reached")
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            return Unavailable("store", "the store refuses this service's API key")
    return None


def _from_http(status: int | None, collection: str) -> ServiceError | None:
    match status:
        case 404:
            return NotFound("collection", collection)
        case 401 | 403:
            return Unavailable("store", "the store refuses this service's API key")
        case 408 | 504:
            return DeadlineExceeded("the store did not answer in time")
        case 429:
            return ResourceExhausted("the store is busy", "STORE_BUSY", retry_after_s=_BUSY_RETRY_S)
        case 500 | 502 | 503:
            return Unavailable("store", f"the store answers with HTTP status {status}")
    return None
