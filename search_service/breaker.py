"""Fails fast while a dependency is down, instead of letting every caller wait out its deadline.

The probes that health is made of decide: one that fails opens the breaker, the next that succeeds
closes it, so that no caller's request is the guinea pig. Calls under way when it opens are given up
too. Breakers that count failed calls (the libraries for asyncio do) know of a dependency that is
frozen only once enough callers have waited in vain, and cannot end the waiting of those.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, TypeAlias, TypeVar, cast

import structlog

from clipsearch.serving.errors import DeadlineExceeded, ServiceError, Unavailable
from clipsearch.serving.health import PROBE_TIMEOUT_S

# When a refused caller may come back: probes are a second apart.
RETRY_AFTER_S = 1.0
# Sooner than health gives up on us.
_ANSWER_S = 0.75 * PROBE_TIMEOUT_S

Dependency = TypeVar("Dependency")
Timer: TypeAlias = Callable[[str], AbstractContextManager[Any]]

_log = structlog.get_logger(__name__)


class Breaker:
    """Of one dependency, `encoder` or `store`. `on_change` hears whether it answers."""

    def __init__(self, name: str, on_change: Callable[[bool], None] = lambda answers: None) -> None:
        self._name = name
        self._unavailable = partial(Unavailable, name)
        self._on_change = on_change
        self._problem: str | None = None  # why calls are refused; None = they are made
        self._answers = 0
        self._waiting: set[asyncio.Timeout] = set()
        on_change(True)

    def guarded(self, dependency: Dependency, timer: Timer = lambda method: nullcontext()) -> Dependency:
        """The dependency behind the breaker: `ping` is its probe, every other call can be refused.

        Calls are made within `timer` of their method's name, failures and refusals included.
        """
        return cast(Dependency, _Guarded(dependency, self, timer))

    @asynccontextmanager
    async def probe(self) -> AsyncIterator[None]:
        """About a ping: opens or closes the breaker by what comes of it.

        A ping that fails while other calls are answered fails nobody: the dependency is busy, and
        to refuse its callers would make an outage of that. Raises what the ping raises, and
        Unavailable for one that is not answered in time.
        """
        answers = self._answers
        try:
            async with asyncio.timeout(_ANSWER_S):
                yield
        except TimeoutError:
            self._failed(answers, self._unavailable(f"the {self._name} does not answer"))
        except (Unavailable, DeadlineExceeded) as error:
            self._failed(answers, error)
        else:
            self._answers += 1
            if self._problem is not None:
                self._problem = None
                _log.info("calls are made again", dependency=self._name)
                self._on_change(True)

    @asynccontextmanager
    async def call(self) -> AsyncIterator[None]:
        """About a call. Raises Unavailable while the breaker is open, and as soon as it opens."""
        if self._problem is not None:
            raise self._refusal()
        try:
            async with asyncio.timeout(None) as waiting:
                self._waiting.add(waiting)
                try:
                    yield
                finally:
                    self._waiting.discard(waiting)
        except TimeoutError:
            if not waiting.expired():
                raise
            raise self._refusal() from None
        except Unavailable as error:
            error.retry_after_s = error.retry_after_s or RETRY_AFTER_S
            raise
        except DeadlineExceeded:
            raise
        except ServiceError:
            self._answers += 1  # it refuses, so it lives
            raise
        self._answers += 1

    def _failed(self, answers: int, error: Unavailable | DeadlineExceeded) -> None:
        if self._answers != answers:
            return
        if self._problem is None:
            _log.warning("calls are refused", dependency=self._name, problem=error.message)
            self._on_change(False)
        self._problem = error.message
        now = asyncio.get_running_loop().time()
        for waiting in self._waiting:
            waiting.reschedule(now)
        self._waiting.clear()
        raise error

    def _refusal(self) -> Unavailable:
        # It may have closed again since it gave up a call.
        return self._unavailable(self._problem or f"the {self._name} does not answer", RETRY_AFTER_S)


class _Guarded:
    def __init__(self, target: object, breaker: Breaker, timer: Timer) -> None:
        self._target = target
        self._breaker = breaker
        self._timer = timer

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if not iscoroutinefunction(found):
            return found
        around = self._breaker.probe if name == "ping" else self._breaker.call

        async def call(*args: Any, **kwargs: Any) -> Any:
            with self._timer(name):
                async with around():
                    return await found(*args, **kwargs)

        self.__dict__[name] = call  # the next call finds it without asking again
        return call
