"""Domain filters in Qdrant Edge's terms."""

from __future__ import annotations

import qdrant_edge as qe

from search_service.query.filters import (
    Condition,
    DatetimeRange,
    Filter,
    HasId,
    IsEmpty,
    IsNull,
    MatchAny,
    MatchExcept,
    MatchText,
    MatchValue,
    Range,
)
from search_service.stores.edge.booleans import boolean_path, boolean_word
from search_service.stores.protocol import point_uuid


def edge_filter(filter: Filter | None) -> qe.Filter | None:
    """The filter for the engine; None where there is nothing to filter."""
    if not filter:
        return None
    return qe.Filter(
        must=[_condition(c) for c in filter.must] or None,
        should=[_condition(c) for c in filter.should] or None,
        must_not=[_condition(c) for c in filter.must_not] or None,
    )


def _condition(condition: Condition) -> qe.ConditionType:
    match condition:
        case MatchValue(key, bool(value)):
            return qe.FieldCondition(boolean_path(key), match=qe.MatchValue(boolean_word(value)))
        case MatchValue(key, value):
            return qe.FieldCondition(key, match=qe.MatchValue(value))
        case MatchAny(key, values):
            return qe.FieldCondition(key, match=qe.MatchAny(_list(values)))
        case MatchExcept(key, values):
            return qe.FieldCondition(key, match=qe.MatchExcept(_list(values)))
        case MatchText(key, text):
            return qe.FieldCondition(key, match=qe.MatchText(text))
        case Range(key):
            bounds = qe.RangeFloat(gt=condition.gt, gte=condition.gte, lt=condition.lt, lte=condition.lte)
            return qe.FieldCondition(key, range=bounds)
        case DatetimeRange(key):
            moments = {
                name: value.isoformat()
                for name in ("gt", "gte", "lt", "lte")
                if (value := getattr(condition, name)) is not None
            }
            return qe.FieldCondition(key, range=qe.RangeDateTime(**moments))
        case IsEmpty(key):
            return qe.IsEmptyCondition(key)
        case IsNull(key):
            return qe.IsNullCondition(key)
        case HasId(ids):
            return qe.HasIdCondition({point_uuid(point_id) for point_id in ids})
        case Filter():
            return edge_filter(condition) or qe.Filter()


def _list(values: tuple[str, ...] | tuple[int, ...]) -> list[str] | list[int]:
    return list(values)  # type: ignore[return-value]  # all of one type, as the tuple says
