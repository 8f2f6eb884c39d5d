"""Boosts as the engine's formulas.

An engine stops at a field of another type than its formula wants, so each boost is first multiplied by
whether the field is what it should be; where it is not, the rest is not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence

import qdrant_edge as qe

from search_service.stores.questions import Boost, Nearer, Newer, Popular

_HALF = 0.5
_EARTH_M = 2.1e7  # no place is farther from another
_FIRST_TIME = "0001-01-01T00:00:00Z"


def formula(boosts: Sequence[Boost]) -> qe.Formula:
    """The sum of the boosts."""
    return qe.Formula(qe.Expression.Sum([_expression(boost) for boost in boosts]))


def _expression(boost: Boost) -> qe.Expression:
    of = qe.Expression
    match boost.by:
        case Newer(key, target, scale_s):
            right = qe.FieldCondition(key, range=qe.RangeDateTime(gte=_FIRST_TIME))
            time = of.Datetime(target.isoformat())
            value = of.Decay(qe.DecayKind.Exp, of.DatetimeKey(key), time, _HALF, scale_s)
        case Nearer(key, lat, lon, scale_m):
            place = qe.GeoPoint(lon=lon, lat=lat)
            right = qe.FieldCondition(key, geo_radius=qe.GeoRadius(place, _EARTH_M))
            value = of.Decay(qe.DecayKind.Exp, of.GeoDistance(place, key), None, _HALF, scale_m)
        case Popular(key, scale):
            right = qe.FieldCondition(key, range=qe.RangeFloat(gte=0.0))
            number = of.Variable(key)
            value = of.Div(number, of.Sum([number, of.Constant(scale)]), 0.0)
    one = qe.FieldCondition(key, values_count=qe.ValuesCount(lte=1))
    return of.Mult([of.Constant(boost.weight), of.Condition(qe.Filter(must=[right, one])), value])
