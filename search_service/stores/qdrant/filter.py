"""Domain filters in qdrant-client's terms."""

from __future__ import annotations

from typing import Any

from qdrant_client import models

from search_service.stores.filters import (
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
from search_service.stores.protocol import point_uuid


def server_filter(filter: Filter | None) -> models.Filter | None:
    """The filter for the server; None where there is nothing to filter.

    A field with a payload index that is both asked for and excluded in one filter comes back all the
    same (Qdrant 1.18.3), but is excluded rightly by a filter of its own inside it.
    """
    if not filter:
        return None
    must = [_condition(c) for c in filter.must]
    must_not = [_condition(c) for c in filter.must_not]
    if must_not and (must or filter.should):
        must.append(models.Filter(must_not=must_not))
        must_not = []
    return models.Filter(
        must=must or None,
        should=[_condition(c) for c in filter.should] or None,
        must_not=must_not or None,
    )


def _condition(condition: Condition) -> Any:
    match condition:
        case MatchValue(key, value):
            return models.FieldCondition(key=key, match=models.MatchValue(value=value))
        case MatchAny(key, values):
            return models.FieldCondition(key=key, match=models.MatchAny(any=list(values)))
        case MatchExcept(key, values):
            return models.FieldCondition(key=key, match=models.MatchExcept(**{"except": list(values)}))
        case MatchText(key, text):
            return models.FieldCondition(key=key, match=models.MatchText(text=text))
        case Range(key):
            bounds = models.Range(gt=condition.gt, gte=condition.gte, lt=condition.lt, lte=condition.lte)
            return models.FieldCondition(key=key, range=bounds)
        case DatetimeRange(key):
            moments = models.DatetimeRange(
                gt=condition.gt, gte=condition.gte, lt=condition.lt, lte=condition.lte
            )
            return models.FieldCondition(key=key, range=moments)
        case IsEmpty(key):
            return models.IsEmptyCondition(is_empty=models.PayloadField(key=key))
        case IsNull(key):
            # Without an index Qdrant does not look into a list for null, as it does with one.
            paths = (key,) if key.endswith("]") else (key, f"{key}[]")
            return models.Filter(
                should=[models.IsNullCondition(is_null=models.PayloadField(key=path)) for path in paths]
            )
        case HasId(ids):
            return models.HasIdCondition(has_id=[point_uuid(point_id) for point_id in ids])
        case Filter():
            return server_filter(condition) or models.Filter()
