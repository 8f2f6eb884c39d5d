"""When the caller of the current call stops waiting: whatever is done for the call goes by it.

Like the tenant, it is known to all that runs in the call's task, and to the tasks that this starts. What
is to outlive the call is started with a context of its own: `create_task(..., context=Context())`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_deadline: ContextVar[float] = ContextVar("deadline", default=math.inf)


def deadline() -> float:
    """The moment, in seconds of time.monotonic(); infinity where nobody waits, or for ever."""
    return _deadline.get()


@contextmanager
def deadline_at(moment: float) -> Iterator[None]:
    """What the block does is of no use later than `moment`, nor later than what held before."""
    before = _deadline.set(min(moment, _deadline.get()))
    try:
        yield
    finally:
        _deadline.reset(before)
