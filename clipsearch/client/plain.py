"""Payloads as people have them, as JSON: NumPy numbers, dates, Decimal and the like as what they mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from os import PathLike, fspath
from typing import Any
from uuid import UUID

import numpy as np

_EXACT_INTEGER = 2**53
# A level of a dict is three messages inside one another, and protobuf reads a hundred.
_MOST_DEEP = 30


def plain(value: Any, where: str, depth: int = 0) -> Any:
    """The value as None, bool, int, float, str, list or dict. `where` is its place, for errors.

    A Struct holds float64 only: a larger integer would come back as another one. Raises ValueError.
    """
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is str:
        return _text(value, where)
    if kind is int or kind is float:
        return _number(value, where)
    if depth >= _MOST_DEEP:
        raise ValueError(f"{where}: more than {_MOST_DEEP} lists and dicts inside one another")
    if kind is list or kind is tuple:
        return [plain(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {_key(key, where): plain(item, f"{where}.{key}", depth + 1) for key, item in value.items()}
    return _meant(value, where, depth)


def _meant(value: Any, where: str, depth: int) -> Any:
    match value:
        case Enum():
            return plain(value.value, where, depth + 1)
        case np.datetime64():
            return _numpy_time(value, where)
        case np.timedelta64():
            pass
        case np.ndarray() if value.dtype.kind in "mM":
            return [plain(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value)]
        case np.ndarray():
            return plain(value.tolist(), where, depth + 1)
        case np.bool_() | np.integer() | np.floating() | np.str_():
            return plain(value.item(), where, depth + 1)
        case bool():
            return bool(value)
        case str():
            return _text(str(value), where)
        case int() | float():
            return _number(value, where)
        case Decimal():
            return _decimal(value, where)
        case datetime() if value == value:  # pandas' NaT is a datetime, and no time
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
        case date() if not isinstance(value, datetime):
            return value.isoformat()
        case UUID():
            return str(value)
        case PathLike() if isinstance(fspath(value), str):
            return _text(fspath(value), where)
        case list() | tuple():
            return plain(list(value), where, depth)
        case set() | frozenset():
            items = [plain(item, f"{where}{{{item!r}}}", depth + 1) for item in value]
            return sorted(items, key=lambda item: (type(item).__name__, repr(item)))
    raise ValueError(
        f"{where}: {str(value)[:40]!r} is of type {type(value).__name__}, which JSON has nothing for; "
        "it must be None, a boolean, a number, a string, a time, or a list or dict of them"
    )


def _key(key: Any, where: str) -> str:
    if isinstance(key, Enum):
        key = key.value
    if not isinstance(key, str):
        raise ValueError(f"{where}: the key {key!r} is of type {type(key).__name__}; keys are strings")
    return _text(str(key), f"{where}: key")


def _text(text: str, where: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{where}: {text[:40]!r} is no text: {error.reason}") from None
    return text


def _number(number: float, where: str) -> int | float:
    if isinstance(number, int):
        if abs(number) > _EXACT_INTEGER:
            raise ValueError(f"{where}: {number} is beyond 2**53 and would be rounded; send it as a string")
        return int(number)
    if not math.isfinite(number):
        raise ValueError(f"{where}: {number} is no number that JSON has; leave the field out, or send None")
    return float(number)


def _decimal(number: Decimal, where: str) -> int | float:
    if not number.is_finite():
        raise ValueError(f"{where}: {number} is no number that JSON has; leave the field out, or send None")
    if number == number.to_integral_value() and number.adjusted() < 20:
        return _number(int(number), where)
    if Decimal(repr(float(number))) != number:
        raise ValueError(
            f"{where}: {number} has more digits than float64 and would be rounded; send it as a string"
        )
    return float(number)


def _numpy_time(value: np.datetime64, where: str) -> str:
    if np.isnat(value):
        raise ValueError(f"{where}: NaT is no time; leave the field out, or send None")
    text = str(np.datetime_as_string(value))
    return f"{text}Z" if "T" in text and text.count(":") else text
