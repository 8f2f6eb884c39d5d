"""Boosts: what the payloads of a search's best hits add to their scores.

The engine computes them, by its formulas, for the hits that were found, and they are added here: so they are
the same beside a cosine, a calibrated score and a fusion by rank, which no formula of an engine could join.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from clipsearch.serving.errors import InvalidArgument
from search_service.query.filters import FieldChecks, fitted, of_kind
from search_service.query.queries import Hit, Query
from search_service.stores.collection import CollectionSpec, PayloadIndex
from search_service.stores.filters import Filter
from search_service.stores.protocol import PayloadSelection
from search_service.stores.questions import Boost, Nearer, Newer, Popular

_KINDS = {Newer: "date", Nearer: "place", Popular: "number"}


def candidate_query(query: Query) -> Query:
    """The search for the hits that are to be boosted."""
    if not query.boosts:
        return query
    return replace(
        query,
        limit=query.boost_candidates,
        offset=0,
        score_threshold=None,
        payload=PayloadSelection(include=()),
        with_vectors=False,
    )


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
