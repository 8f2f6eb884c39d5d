"""Paths of payload fields: `price`, `shop.city`, `tags[]`, `"unit price"`, `"a.b"`.

Names of letters, digits, _ and - stand as they are; any other name stands in double quotes, and a dot
inside them is part of the name. The engine knows no way to write a name with `"` or a backslash in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

NAME = r'(?:[\w-]+|"[^"\\]+")(?:\[[0-9]{0,9}\])*'
PATH = re.compile(rf"{NAME}(?:\.{NAME})*")
_PART = re.compile(r'(?P<bare>[\w-]+)|"(?P<quoted>[^"\\]+)"|\[(?P<index>[0-9]*)\]')
_BARE = re.compile(r"[\w-]+")


def quoted(name: str) -> str | None:
    """The path of a field at the top of the payload; None if there is no way to write it."""
    if _BARE.fullmatch(name):
        return name
    return f'"{name}"' if name and not {'"', "\\"} & set(name) else None


@lru_cache(maxsize=1024)  # all hits of a search are looked through by the same few paths
def keys(path: str) -> tuple[str | int, ...]:
    """The names on the path, and numbers of elements of lists (-1 = each); what is no path is a name."""
    if not PATH.fullmatch(path):
        return (path,)
    parts = _PART.finditer(path)
    return tuple(part["bare"] or part["quoted"] or int(part["index"] or -1) for part in parts)


def values_at(payload: Any, path: str) -> list[Any]:
    """What the payload holds at the path; a list counts as each of its elements."""
    return _at(payload, keys(path))


def _at(value: Any, keys: Sequence[str | int]) -> list[Any]:
    key = keys[0] if keys else None
    if isinstance(value, list):
        if isinstance(key, int):
            some = value if key < 0 else value[key : key + 1]
            return [found for element in some for found in _at(element, keys[1:])]
        return [found for element in value for found in _at(element, keys)]
    if key is None:
        return [value]
    if isinstance(value, Mapping) and isinstance(key, str):
        return _at(value[key], keys[1:]) if key in value else []
    return []
