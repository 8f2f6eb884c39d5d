"""Filter expressions, as typed on a command line: `brand=acme`, `price<20`, `tag!=old|sold`.

An expression is a field, an operator (= != < <= > >= ~) and a value. `~` asks for words of a text.
true, false and whole numbers are compared as such, a date or time after < <= > >= as a time (UTC
unless it says otherwise), everything else as a string; quotes force a string: `code="0042"`.
`|` separates alternatives. `!=` also finds points without the field.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

BOUNDS = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
_EXPRESSION = re.compile(r"\s*(?P<key>[^=!<>~\s]+)\s*(?P<op>!=|<=|>=|[=<>~])\s*(?P<value>.*?)\s*", re.DOTALL)
_INTEGER = re.compile(r"[+-]?\d+")


class FilterError(ValueError):
    """The filter cannot be read; the message says where and why."""


def parse_expressions(expressions: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """The JSON form of expressions that must all hold. Raises FilterError."""
    clauses: dict[str, list[dict[str, Any]]] = {}
    for expression in expressions:
        clause, condition = _parse(expression)
        clauses.setdefault(clause, []).append(condition)
    return clauses


def _parse(expression: str) -> tuple[str, dict[str, Any]]:
    found = _EXPRESSION.fullmatch(expression)
    if found is None or not found["value"]:
        raise FilterError(
            f"{expression!r} is no filter: write FIELD, one of = != < <= > >= ~, and a value, "
            "such as brand=acme or 'price<20'"
        )
    key, operator, text = found["key"], found["op"], found["value"]
    if operator == "~":
        return "must", {"key": key, "match": {"text": _unquoted(text)}}
    if operator in BOUNDS:
        return "must", {"key": key, "range": {BOUNDS[operator]: _bound(expression, text)}}
    return ("must_not" if operator == "!=" else "must"), _equality(key, text)


def _equality(key: str, text: str) -> dict[str, Any]:
    quoted = _unquoted(text)
    if quoted != text:
        return {"key": key, "match": {"value": quoted}}
    values = [_scalar(part) for part in text.split("|")]
    if len(values) == 1:
        value = values[0]
        if isinstance(value, float):
            return {"key": key, "range": {"gte": value, "lte": value}}
        return {"key": key, "match": {"value": value}}
    if all(type(value) is int for value in values):
        return {"key": key, "match": {"any": values}}
    return {"key": key, "match": {"any": text.split("|")}}


def _scalar(text: str) -> str | int | float | bool:
    if text in ("true", "false"):
        return text == "true"
    if _INTEGER.fullmatch(text):
        return int(text)
    try:
        return float(text) if text[-1:].isdigit() else text  # not nan, inf, or a bare name
    except ValueError:
        return text


def _bound(expression: str, text: str) -> float | datetime:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return parse_time(_unquoted(text))
    except ValueError:
        raise FilterError(
            f"{expression!r}: {text!r} is neither a number nor a date or time such as 2024-05-31"
        ) from None


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"" else text


def parse_time(text: str) -> datetime:
    """An ISO 8601 date or time; UTC unless it says otherwise. Raises ValueError."""
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)
