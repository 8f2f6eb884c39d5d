"""What a data directory's disk refuses, as our errors."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from clipsearch.serving.errors import ResourceExhausted, Unavailable


@contextmanager
def disk_errors() -> Iterator[None]:
    """What the directory's disk refuses, told without paths."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceExhausted("the store's disk is full", "STORE_DISK_FULL", 30) from error
        raise Unavailable("store", "the store's disk cannot be read or written") from error
