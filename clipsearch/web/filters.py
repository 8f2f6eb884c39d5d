"""The page's conditions as a filter of the services, and the way back for errors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from clipsearch.filters.convert import to_proto
from clipsearch.filters.expressions import BOUNDS, FilterError, compared
from clipsearch.filters.paths import PATH, quoted
from clipsearch.web.asked import ConditionAsked, Typed
from clipsearch.web.errors import bad

_PLACE = re.compile(r"^filter\.(must|must_not)\[(\d+)\]")


class PageFilter:
    """All conditions must hold; `json` is the filter in Qdrant's form, None without conditions."""

    def __init__(self, conditions: Sequence[ConditionAsked], time_zone: str = "") -> None:
        """`time_zone` says whose days are meant, "" = UTC's. Raises WebError for what makes no sense."""
        zone = _zone(time_zone)
        self._places: dict[str, list[int]] = {"must": [], "must_not": []}
        clauses: dict[str, list[dict[str, Any]]] = {"must": [], "must_not": []}
        for number, condition in enumerate(conditions):
            clause = "must_not" if condition.op == "!=" else "must"
            try:
                one = _condition(number, condition, zone)
                to_proto({clause: [one]})
            except FilterError as error:
                _, _, message = str(error).partition(": ")
                raise bad(f"filter[{number}].value", message) from None
            clauses[clause].append(one)
            self._places[clause].append(number)
        self.json = {name: some for name, some in clauses.items() if some} or None

    def page_field(self, field: str) -> str:
        """`filter.must[0].field.key` as the page knows it: `filter[2]`."""
        found = _PLACE.match(field)
        places = self._places[found[1]] if found else []
        return f"filter[{places[int(found[2])]}]" if found and int(found[2]) < len(places) else field


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name) if name else UTC
    except (OSError, ValueError, KeyError):  # a folder's name, a path, or none that there is
        raise bad("time_zone", f"{name!r} is no time zone that is known here") from None


def _condition(number: int, condition: ConditionAsked, zone: tzinfo) -> dict[str, Any]:
    key, value = condition.field, condition.value
    if not PATH.fullmatch(key):  # a name as people write it; whatever else it is, the service refuses it
        key = quoted(key) or key
    if isinstance(value, Typed):
        _, typed = compared(f"{key}{condition.op}{value.typed}", key, condition.op, value.typed, zone)
        return typed
    if condition.op in BOUNDS:
        if isinstance(value, bool | list):
            raise bad(f"filter[{number}].value", f"{condition.op} needs a number or a date")
        return {"key": key, "range": {BOUNDS[condition.op]: value}}
    if condition.op == "~":
        return {"key": key, "match": {"text": value}}
    if isinstance(value, list):
        return {"key": key, "match": {"any": value}}
    if isinstance(value, float):  # the engine matches no float, but it does bound one from both sides
        return {"key": key, "range": {"gte": value, "lte": value}}
    return {"key": key, "match": {"value": value}}
