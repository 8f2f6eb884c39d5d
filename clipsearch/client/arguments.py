"""What callers hand in, looked at before it is sent: a text is no list of its letters.

Everything here raises TypeError for a value of another type than is taken, and ValueError for one of
that type that cannot be sent. Messages begin with the argument at fault.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any, TypeVar

from PIL import Image

Item = TypeVar("Item")
_ONE = (str, bytes, bytearray, memoryview, PathLike, Image.Image, Mapping)


def listed(given: Any, argument: str, of: str, *, ordered: bool = True) -> Iterable[Any]:
    """`given`, if it is a list of something or another iterable. `of` says in words what it should hold."""
    if isinstance(given, _ONE) or not isinstance(given, Iterable):
        raise TypeError(f"{argument}: must be a list of {of}, is {_said(given)}{_instead(given)}")
    if ordered and isinstance(given, set | frozenset):
        raise TypeError(f"{argument}: must be a list of {of}; a set has no order")
    return given


def strings(given: Any, argument: str, of: str, *, ordered: bool = True) -> list[str]:
    """A list of strings. Looks at each of them."""
    found = list(listed(given, argument, of, ordered=ordered))
    for i, item in enumerate(found):
        string(item, f"{argument}[{i}]")
    return found


def ids(given: Any, argument: str) -> list[str]:
    """Ids of points."""
    found = list(listed(given, argument, "ids", ordered=False))
    for i, item in enumerate(found):
        point_id(item, f"{argument}[{i}]")
    return found


def string(given: Any, argument: str) -> str:
    """A string that can be sent."""
    if not isinstance(given, str):
        raise TypeError(f"{argument}: must be a string, is {_said(given)}")
    if not given.isascii():
        try:
            given.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{argument}: {given!r} is no text: {error.reason}") from None
    return given


def point_id(given: Any, argument: str) -> str:
    """The id of a point."""
    if not isinstance(given, str):
        raise TypeError(
            f"{argument}: ids are strings, this is {_said(given)}"
            + ("" if given is None else f"; write {str(given)!r} if that is meant")
        )
    if not given:
        raise ValueError(f"{argument}: empty; a point needs an id")
    return string(given, argument)


def each(given: Any, kind: type[Item], argument: str, of: str) -> list[Item]:
    """A list of things of one class."""
    if isinstance(given, kind):
        raise TypeError(
            f"{argument}: must be a list of {of}, is one {kind.__name__}; write [{kind.__name__}(...)]"
        )
    found = list(listed(given, argument, of))
    for i, item in enumerate(found):
        if not isinstance(item, kind):
            raise TypeError(f"{argument}[{i}]: must be a {kind.__name__}, is {_said(item)}")
    return found


def _said(given: Any) -> str:
    if given is None:
        return "None"
    shown = repr(given) if isinstance(given, str | int | float | PathLike) else ""
    named = f"of type {type(given).__name__}"
    return f"{shown[:60]} ({named})" if shown else named


def _instead(given: Any) -> str:
    if isinstance(given, str):
        return f"; one is written [{given[:40]!r}]"
    return "; one is written [...]" if isinstance(given, _ONE) and not isinstance(given, Mapping) else ""
