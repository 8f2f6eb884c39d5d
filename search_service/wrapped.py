"""Stands for a dependency (the encoder or the store) and puts something about each of its calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias, TypeVar, cast

Dependency = TypeVar("Dependency")
# What is put about a call; made anew for each.
Around: TypeAlias = Callable[[], AbstractAsyncContextManager[None]]


def wrapped(dependency: Dependency, around_of: Callable[[str], Around]) -> Dependency:
    """The dependency, with `around_of(method)` about each call of a coroutine method."""
    return cast(Dependency, _Wrapped(dependency, around_of))


class _Wrapped:
    def __init__(self, target: object, around_of: Callable[[str], Around]) -> None:
        self._target = target
        self._around_of = around_of

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if not inspect.iscoroutinefunction(found):
            return found
        around = self._around_of(name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            async with around():
                return await found(*args, **kwargs)

        self.__dict__[name] = call  # the next call finds it without asking again
        return call
