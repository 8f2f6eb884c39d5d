"""Says where in a request an error lies, when the code that finds it sees only a part."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from clipsearch.serving.errors import InvalidArgument, ServiceError


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


def at(error: InvalidArgument, field: str) -> InvalidArgument:
    """The same error, told of `field`: for one that was found where no field is known."""
    known = {name: value for name, value in error.metadata.items() if name != "field"}
    return InvalidArgument(field, error.description, error.reason, known)
