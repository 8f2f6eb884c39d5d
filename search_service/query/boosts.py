"""Boosts: what the payloads of a search's best hits add to their scores.

They are added to the scores of the hits that were found, so they are the same beside a cosine, a calibrated
score and a fusion by rank. Engines have formulas, which stop at a field of another type and at a place beyond
the poles.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from clipsearch.filters.paths import values_at
from clipsearch.serving.errors import InvalidArgument
from search_service.query.filters import FieldChecks, fitted, kinds_of, of_kind
from search_service.query.queries import Boost, Hit, Nearer, Newer, Popular, Query
from search_service.stores.codec import selectable
from search_service.stores.collection import CollectionSpec, PayloadIndex
from search_service.stores.filters import Filter
from search_service.stores.protocol import PayloadSelection

_KINDS = {Newer: "date", Nearer: "place", Popular: "number"}
_EARTH_RADIUS_M = 6_371_008.8  # its mean, as engines take it


def candidate_query(query: Query) -> Query:
    """The search for the hits that are to be boosted, with what boosts look at where that saves a call."""
    if not query.boosts:
        return query
    return replace(
        query,
        limit=query.boost_candidates,
        offset=0,
        score_threshold=None,
        payload=fields_of(query.boosts),
        with_vectors=False,
    )


def fields_of(boosts: Sequence[Boost]) -> PayloadSelection:
    """What of a payload the boosts look at."""
    return PayloadSelection(tuple(dict.fromkeys(selectable(boost.by.key) for boost in boosts)))


def sum_of(boosts: Sequence[Boost], payload: Mapping[str, Any]) -> float:
    """What the payload adds to a score."""
    return sum(boost.weight * _given(payload, boost.by) for boost in boosts)


def _given(payload: Mapping[str, Any], by: Newer | Nearer | Popular) -> float:
    """A number from 0 to 1; 0 where the field is not one value of its type."""
    values = values_at(payload, by.key)
    if len(values) != 1 or _KINDS[type(by)] not in kinds_of(values):
        return 0.0
    [value] = values
    match by:
        case Newer(_, target, scale_s):
            time = datetime.fromisoformat(value)
            aware = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
            return _halved(abs((aware - target).total_seconds()) / scale_s)
        case Nearer(_, lat, lon, scale_m):
            return _halved(_metres(value["lat"], value["lon"], lat, lon) / scale_m)
        case Popular(_, scale):
            return value / (value + scale) if value > 0 else 0.0


def _halved(times: float) -> float:
    """1, halved so many times."""
    return float(0.5**times)


def _metres(lat: float, lon: float, other_lat: float, other_lon: float) -> float:
    """From one place to another, both in degrees, by the haversine formula."""
    north, other_north = math.radians(lat), math.radians(other_lat)
    half_north, half_east = (other_north - north) / 2, math.radians(other_lon - lon) / 2
    part = math.sin(half_north) ** 2 + math.cos(north) * math.cos(other_north) * math.sin(half_east) ** 2
    return 2 * _EARTH_RADIUS_M * math.asin(math.sqrt(min(1.0, part)))


def boosted(query: Query, hits: Sequence[Hit], added: Mapping[str, float]) -> list[Hit]:
    """The page of hits in their new order, ties by their ids; a point that is gone has none."""
    raised = [
        replace(hit, score=hit.score + added[hit.point.id], boost=added[hit.point.id])
        for hit in hits
        if hit.point.id in added
    ]
    raised.sort(key=lambda hit: (-hit.score, hit.point.id))
    if query.score_threshold is not None:
        raised = [hit for hit in raised if hit.score >= query.score_threshold]
    return raised[query.offset : query.offset + query.limit]


def check_indexes(boosts: Sequence[Boost], indexes: Mapping[str, PayloadIndex]) -> None:
    """Raises InvalidArgument for a boost by a field whose payload index is of another type."""
    for field, filter in _fields(boosts):
        try:
            fitted(filter, indexes)
        except InvalidArgument as error:
            raise error.at(field) from None


async def check_fields(fields: FieldChecks, spec: CollectionSpec, boosts: Sequence[Boost]) -> None:
    """Raises InvalidArgument for a boost by a field that no point has, or that holds another type.

    To be asked where no hit was boosted.
    """
    for field, filter in _fields(boosts):
        try:
            await fields.check(spec, filter, found=False, misspelt=True)
        except InvalidArgument as error:
            raise error.at(field) from None


def _fields(boosts: Sequence[Boost]) -> list[tuple[str, Filter]]:
    """Where in the request a boost's field stands, and a filter that takes it for what it should be."""
    return [
        (
            f"boosts[{index}].{type(boost.by).__name__.lower()}.key",
            of_kind(boost.by.key, _KINDS[type(boost.by)]),
        )
        for index, boost in enumerate(boosts)
    ]
