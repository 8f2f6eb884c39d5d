"""Boosts as the server's formulas.

A server stops at a field of another type than its formula wants, so each boost is first multiplied by
whether the field is what it should be; where it is not, the rest is not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from qdrant_client import models

from search_service.stores.questions import Boost, Nearer, Newer, Popular

_HALF = 0.5
_EARTH_M = 2.1e7  # no place is farther from another
_FIRST_TIME = datetime.min.replace(tzinfo=UTC)


def formula(boosts: Sequence[Boost]) -> models.FormulaQuery:
    """The sum of the boosts."""
    return models.FormulaQuery(formula=models.SumExpression(sum=[_expression(boost) for boost in boosts]))


def _expression(boost: Boost) -> models.Expression:
    value: models.Expression
    match boost.by:
        case Newer(key, target, scale_s):
            right = models.FieldCondition(key=key, range=models.DatetimeRange(gte=_FIRST_TIME))
            time = models.DatetimeExpression(datetime=target.isoformat())
            value = _decay(models.DatetimeKeyExpression(datetime_key=key), scale_s, time)
        case Nearer(key, lat, lon, scale_m):
            place = models.GeoPoint(lon=lon, lat=lat)
            radius = models.GeoRadius(center=place, radius=_EARTH_M)
            right = models.FieldCondition(key=key, geo_radius=radius)
            distance = models.GeoDistanceParams(origin=place, to=key)
            value = _decay(models.GeoDistance(geo_distance=distance), scale_m)
        case Popular(key, scale):
            right = models.FieldCondition(key=key, range=models.Range(gte=0.0))
            sum = models.SumExpression(sum=[key, scale])
            value = models.DivExpression(div=models.DivParams(left=key, right=sum, by_zero_default=0.0))
    one = models.FieldCondition(key=key, values_count=models.ValuesCount(lte=1))
    return models.MultExpression(mult=[boost.weight, models.Filter(must=[right, one]), value])


def _decay(
    x: models.Expression, scale: float, target: models.Expression | None = None
) -> models.ExpDecayExpression:
    params = models.DecayParamsExpression(x=x, target=target, scale=scale, midpoint=_HALF)
    return models.ExpDecayExpression(exp_decay=params)
