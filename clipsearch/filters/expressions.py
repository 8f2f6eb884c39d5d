"""The grammar of filter expressions: `brand=acme`, `price<20`, `tag!=old|sold`, `"unit price"<=5`.

    EXPRESSION  FIELD OPERATOR VALUE, or VALUE | VALUE | ... after = != ~ ~~ @
                #FIELD OPERATOR NUMBER: how many values the field has
                FIELD[EXPRESSION][EXPRESSION]...: one object of a list matches all of them
                {...}: a condition in Qdrant's JSON form
    FIELD       the path of a payload field, see clipsearch/filters/paths.py
    OPERATOR    =  !=  <  <=  >  >=  ~ (has all of the words)  ~~ (has them in a row)  @ PLACE
    PLACE       a circle, 56.95,24.1,5km, or a box, 57.1,23.9..56.8,24.4: latitude first, as on maps, and
                from the north-western corner to the south-eastern one
    VALUE       "in quotes" or 'in quotes' (a quote inside is written twice), or bare

A bare value is a number (7, 7.5, 1e3), true or false, a day or time (see clipsearch/filters/periods.py), or a
word; one in quotes is always a word. What can be read in two ways, as 2024 can, becomes a condition
with both readings, of which the service takes the one that fits the field. The command line, the
Python client and the page all read filters here. docs/filters.md has examples.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Any

from clipsearch.filters.paths import PATH, quoted
from clipsearch.filters.periods import conditions, period

BOUNDS = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
EXACT_INTEGER = 2**53
"""Payloads hold float64; larger whole numbers would be rounded."""

_FIELD = re.compile(rf"\s*(?P<key>#?{PATH.pattern})\s*")
_OPERATOR = re.compile(r"!=|<=|>=|~~(?!~)|[=<>~@](?![=<>~])")
_MARKS = re.compile(r"[=!<>~:≠≤≥]+")
_MEANT = {
    "==": "=", "===": "=", ":": "=", ":=": "=", "=>": ">=", "=<": "<=", "<>": "!=", "!==": "!=", "=!": "!=",
    "~=": "~", "=~": "~", "!<": ">=", "!>": "<=", "<<": "<", ">>": ">", "≠": "!=", "≤": "<=", "≥": ">=",
}  # fmt: skip
_DECIMAL = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_NUMBER = re.compile(rf"{_DECIMAL}(?:[eE][+-]?[0-9]+)?")
_PLACE = rf"\s*({_DECIMAL})\s*,\s*({_DECIMAL})\s*"
_CIRCLE = re.compile(rf"{_PLACE},\s*({_DECIMAL})\s*(km|m)\s*")
_CENTRE = re.compile(rf"{_PLACE}(?:,(?P<radius>[^,]*))?")
_BOX = re.compile(rf"{_PLACE}\.\.{_PLACE}")
_YEAR = re.compile(r"[1-9][0-9]{3}")
_CODE = re.compile(r"[+-]?0[0-9]+")  # 0042 is more often a word than a number
_JOINED = re.compile(r"(?:\s(?:and|or|&)\s+|[,;]\s*)[\w.-]+\s*(?:[=!<>]=?|~)|&&|\|\|", re.IGNORECASE)
_FANCY = "“”„‟«»‘’‚"


class FilterError(ValueError):
    """The filter cannot be read; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Value:
    """A value as written."""

    text: str
    quoted: bool


def parse_expressions(
    expressions: Sequence[str], zone: tzinfo | None = UTC
) -> dict[str, list[dict[str, Any]]]:
    """The JSON form of expressions that must all hold. Raises FilterError.

    `zone` says whose days and times are meant; None is the machine's own.
    """
    clauses: dict[str, list[dict[str, Any]]] = {}
    for expression in expressions:
        clause, condition = _read(expression, zone)
        clauses.setdefault(clause, []).append(condition)
    return clauses


def _read(expression: str, zone: tzinfo | None) -> tuple[str, dict[str, Any]]:
    if expression.lstrip().startswith("{"):
        try:
            condition: dict[str, Any] = json.loads(expression)
        except ValueError as error:
            raise FilterError(f"{expression!r} begins as JSON does, but is none: {error}") from None
        return "must", condition
    field = _FIELD.match(expression)
    if field is not None and expression.startswith("[", field.end()) and not field["key"].startswith("#"):
        inside = parse_expressions(_bracketed(expression, field.end()), zone)
        return "must", {"nested": {"key": field["key"], "filter": inside}}
    key, op, values = _split(expression)
    return compared(expression, key, op, values, zone)


def _bracketed(expression: str, start: int) -> list[str]:
    """What stands in the brackets from `start` on."""
    found, depth, begin = list[str](), 0, 0
    for at, mark in enumerate(_outside_quotes(expression)[start:], start):
        if mark == "[":
            depth, begin = depth + 1, begin if depth else at + 1
        elif mark == "]" and depth:
            depth -= 1
            if not depth:
                found.append(expression[begin:at])
        elif not depth and not mark.isspace():
            raise FilterError(f"{expression!r}: {expression[at:]!r} stands after the bracket")
    if depth:
        raise FilterError(f"{expression!r}: the bracket [ is not closed")
    return found


def compared(
    expression: str, key: str, op: str, values: str, zone: tzinfo | None = UTC
) -> tuple[str, dict[str, Any]]:
    """The clause (`must` or `must_not`) and the condition of a field, an operator and what stands after it.

    `expression` is how messages quote it. Raises FilterError.
    """
    read = _values(expression, values)
    if op in BOUNDS and len(read) > 1:
        raise FilterError(f"{expression!r}: {op} takes one value, not {len(read)}")
    if key.startswith("#"):
        counts = [_count(expression, key[1:], op, value) for value in read]
        return ("must_not" if op == "!=" else "must"), _either(counts)
    if op in BOUNDS:
        return "must", _bound(expression, key, op, read[0], zone)
    if op in ("~", "~~"):
        kind = "text" if op == "~" else "phrase"
        if not all(value.text.strip() for value in read):
            raise FilterError(f"{expression!r}: ~ needs a word")
        return "must", _either([{"key": key, "match": {kind: value.text}} for value in read])
    if op == "@":
        return "must", _either([_area(expression, key, value) for value in read])
    return ("must_not" if op == "!=" else "must"), _equality(expression, key, read, zone)


def _split(expression: str) -> tuple[str, str, str]:
    """Field, operator, and what stands after it."""
    field = _FIELD.match(expression)
    if field is not None:
        rest = expression[field.end() :]
        operator = _OPERATOR.match(rest)
        if operator is not None and not _MARKS.match(rest[operator.end() :].lstrip()):
            return field["key"], operator[0], rest[operator.end() :]
    raise FilterError(f"{expression!r} is no filter: {_what_was_meant(expression)}")


def _what_was_meant(expression: str) -> str:
    usual = "write FIELD, one of = != < <= > >= ~ ~~ @, and a value, such as brand=acme or 'price<20'"
    outside = [
        found for found in _MARKS.finditer(expression) if not expression[: found.start()].count('"') % 2
    ]
    marks = next((found for found in outside if found[0] != ":"), outside[0] if outside else None)
    if marks is None:
        name = _FIELD.match(expression)
        value = expression[name.end() :].strip() if name else ""
        return _meant_without_operator(name["key"], value) if name and value else usual
    field, op, value = expression[: marks.start()].strip(), marks[0], expression[marks.end() :].strip()
    if not field:
        return usual
    if any(mark in field for mark in _FANCY):
        return f"quotes are straight ones, \" or ', not {''.join(m for m in _FANCY if m in field)}"
    negated = re.fullmatch(rf"not\s+({PATH.pattern})", field, re.IGNORECASE)
    if negated and op in ("=", "=="):
        return f"did you mean {negated[1]}!={value}?"
    single = re.fullmatch(r"'([^']+)'", field)
    path = field if PATH.fullmatch(field.removeprefix("#")) else quoted(single[1] if single else field)
    if path is None:
        return f'there is no way to name a field with " or a backslash in its name, such as {field}'
    meant = _MEANT.get(op, op)
    if op == "!~":
        return "there is no operator !~; ~ asks for words that are there"
    if meant not in {*_MEANT.values(), "~~"}:
        return f"there is no operator {op}; a value that begins so stands in quotes"
    why = f"there is no operator {op}" if meant != op else "a field's name with other characters needs quotes"
    if meant == op and path == field:
        return "a value that begins with an operator stands in quotes"
    return f"{why}; did you mean {path}{meant}{value or '...'}?"


def _meant_without_operator(key: str, value: str) -> str:
    if some := re.fullmatch(r"(not\s+)?in\s*[(\[](.+)[)\]]", value, re.IGNORECASE):
        values = "|".join(one.strip() for one in some[2].split(","))
        return f"did you mean {key}{'!=' if some[1] else '='}{values}?"
    if both := re.fullmatch(r"between\s+(.+)\s+and\s+(.+)", value, re.IGNORECASE):
        return f"give two: {key}>={both[1]} and {key}<={both[2]}"
    return f"it has no operator; did you mean {key}={value}?"


def _values(expression: str, text: str) -> list[Value]:
    """The values between the bars."""
    found: list[Value] = []
    rest = text.strip()
    if not rest:
        raise FilterError(f'{expression!r}: no value; an empty text is written ""')
    if joined := _JOINED.search(_outside_quotes(rest)):
        raise FilterError(_joined(expression, text, joined[0].strip()))
    while True:
        value, rest = _value(expression, rest)
        found.append(value)
        if not rest:
            return found
        rest = rest[1:].lstrip()  # a bar
        if not rest or rest[0] == "|":
            raise FilterError(f'{expression!r}: a value is missing beside a |; an empty text is written ""')


def _joined(expression: str, text: str, mark: str) -> str:
    if mark.startswith("||"):
        meant = re.sub(r"\s*\|\|+\s*", "|", expression).rstrip("|")
        return f"{expression!r}: alternatives are separated by one |, as in {meant}"
    if mark.lower().startswith("or"):
        return f"{expression!r}: alternatives for one field are written FIELD=A|B; there is no OR of fields"
    return f"{expression!r}: one expression compares once; give each condition as a filter of its own"


def _outside_quotes(text: str) -> str:
    return re.sub(r"\"[^\"]*\"|(?<![\w])'[^']*'", lambda found: "x" * len(found[0]), text)


def _value(expression: str, text: str) -> tuple[Value, str]:
    """The first value of a text, and what stands after it: nothing, or a bar and more."""
    mark = text[0]
    if mark in _FANCY:
        raise FilterError(f"{expression!r}: quotes are straight ones, \" or ', not {mark}")
    if mark == "|":
        raise FilterError(f'{expression!r}: a value is missing beside a |; an empty text is written ""')
    if mark in "\"'":
        found = re.match(rf"{mark}((?:[^{mark}]|{mark}{mark})*){mark}(?!{mark})\s*", text)
        if found is None:
            raise FilterError(f"{expression!r}: the quote {mark} is not closed")
        rest = text[found.end() :]
        if rest and rest[0] != "|":
            raise FilterError(
                f"{expression!r}: {rest!r} stands after the closing quote; write the quote twice inside"
            )
        return Value(found[1].replace(mark * 2, mark), quoted=True), rest
    bare, bar, rest = text.partition("|")
    bare = bare.strip()
    if '"' in bare or (bare.endswith("'") and bare.count("'") == 1):
        raise FilterError(
            f"{expression!r}: a quote inside a value; put the value in quotes and the quote twice, as in "
            f'"{bare.replace(chr(34), chr(34) * 2)}"'
        )
    return Value(bare, quoted=False), bar + rest


def _bound(expression: str, key: str, op: str, value: Value, zone: tzinfo | None) -> dict[str, Any]:
    readings: list[dict[str, Any]] = []
    if (number := _number(expression, value)) is not None:
        readings.append({"key": key, "range": {BOUNDS[op]: float(number)}})
    if number is None or _YEAR.fullmatch(value.text):
        try:
            if value.quoted and value.text.isdigit():
                raise ValueError
            readings.append(conditions(key, op, period(value.text, zone)))
        except ValueError as error:
            detail = f" ({error})" if re.match(r"[0-9]{4}-", value.text) else ""
            wanted = (
                "a word has no order; write a number without quotes"
                if value.quoted
                else f"{value.text!r} is neither a number nor a date or time such as 2024-05-31{detail}"
            )
            raise FilterError(f"{expression!r}: {wanted}") from None
    return _readings(readings)


def _count(expression: str, key: str, op: str, value: Value) -> dict[str, Any]:
    if op in ("~", "~~", "@") or value.quoted or not re.fullmatch(r"[0-9]{1,9}", value.text):
        raise FilterError(f"{expression!r}: {key!r} has a number of values, such as #{key}>=2")
    number = int(value.text)
    bounds = {BOUNDS[op]: number} if op in BOUNDS else {"gte": number, "lte": number}
    return {"key": key, "values_count": bounds}


def _area(expression: str, key: str, value: Value) -> dict[str, Any]:
    if found := _CIRCLE.fullmatch(value.text):
        lat, lon, radius, unit = found.groups()
        metres = float(radius) * {"m": 1, "km": 1000}[unit]
        return {"key": key, "geo_radius": {"center": _place(lat, lon), "radius": metres}}
    if found := _BOX.fullmatch(value.text):
        north, west, south, east = found.groups()
        box = {"top_left": _place(north, west), "bottom_right": _place(south, east)}
        return {"key": key, "geo_bounding_box": box}
    wrong = f"{value.text!r} is no place"
    if found := _CENTRE.fullmatch(value.text):
        radius = (found["radius"] or "").strip()
        wrong = (
            f"the radius {radius!r} is no number of m or km" if radius else f"{value.text!r} has no radius"
        )
    raise FilterError(
        f"{expression!r}: {wrong}; write a circle such as 56.95,24.1,5km (latitude, longitude, radius) "
        "or a box such as 57.1,23.9..56.8,24.4 (north-western corner..south-eastern)"
    )


def _place(lat: str, lon: str) -> dict[str, float]:
    return {"lat": float(lat), "lon": float(lon)}


def _equality(expression: str, key: str, values: Sequence[Value], zone: tzinfo | None) -> dict[str, Any]:
    """Where all values can be read as of one type, that is a reading; otherwise each for itself."""
    types: list[tuple[Callable[[Value], Any], Callable[[list[Any]], dict[str, Any]]]] = [
        (_boolean, lambda found: _either([_match(key, one) for one in found])),
        (lambda value: _number(expression, value), lambda found: _numbers(key, found)),
        (_word, lambda found: _words(key, found)),
        (lambda value: _period(value, zone), lambda found: _either([conditions(key, "=", p) for p in found])),
    ]
    readings = []
    for read, condition in types:
        found = [read(value) for value in values]
        if all(one is not None for one in found):
            readings.append(condition(found))
    if readings:
        return _readings(readings)
    return _either([_equality(expression, key, [value], zone) for value in values])


def _boolean(value: Value) -> bool | None:
    return {"true": True, "false": False}.get(value.text.lower()) if not value.quoted else None


def _number(expression: str, value: Value) -> int | float | None:
    if value.quoted or not _NUMBER.fullmatch(value.text):
        return None
    number = float(value.text)
    if not math.isfinite(number):
        raise FilterError(f"{expression!r}: {value.text} is too large for a number")
    if re.fullmatch(r"[+-]?[0-9]+", value.text) and abs(int(value.text)) > EXACT_INTEGER:
        raise FilterError(
            f"{expression!r}: {value.text} is beyond 2**53 and would be rounded; a word stands in quotes"
        )
    return int(number) if number.is_integer() and abs(number) <= EXACT_INTEGER else number


def _word(value: Value) -> str | None:
    """The word; None for what a bare value is read as otherwise."""
    if value.quoted or _CODE.fullmatch(value.text):
        return value.text
    other = _NUMBER.fullmatch(value.text) or _boolean(value) is not None
    return None if other else value.text


def _period(value: Value, zone: tzinfo | None) -> Any:
    if value.text.isdigit() and (value.quoted or not _YEAR.fullmatch(value.text)):
        return None
    try:
        return period(value.text, zone)
    except ValueError:
        return None


def _match(key: str, value: str | int | bool) -> dict[str, Any]:
    return {"key": key, "match": {"value": value}}


def _numbers(key: str, numbers: Sequence[int | float]) -> dict[str, Any]:
    """The engine matches whole numbers, and bounds others from both sides."""
    whole = [number for number in numbers if isinstance(number, int)]
    made: list[dict[str, Any]] = []
    if whole:
        made.append({"key": key, "match": {"any": whole}} if len(whole) > 1 else _match(key, whole[0]))
    made += [{"key": key, "range": {"gte": n, "lte": n}} for n in numbers if isinstance(n, float)]
    return _either(made)


def _words(key: str, words: Sequence[str]) -> dict[str, Any]:
    return {"key": key, "match": {"any": list(words)}} if len(words) > 1 else _match(key, words[0])


def _either(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return found[0] if len(found) == 1 else {"should": list(found)}


def _readings(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return found[0] if len(found) == 1 else {"readings": list(found)}
