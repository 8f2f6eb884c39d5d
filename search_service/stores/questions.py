"""What a store is asked beside which points are nearest, and what it answers, as plain values."""

from __future__ import annotations

from dataclasses import dataclass

from search_service.stores.collection import IndexType
from search_service.stores.filters import Filter

FACET_TYPES: frozenset[IndexType] = frozenset({"keyword", "tenant", "integer", "bool"})
"""Types of the payload indexes that engines count values in."""
ORDER_TYPES: frozenset[IndexType] = frozenset({"integer", "float", "datetime"})
"""Types of the payload indexes whose values engines can order points by."""


@dataclass(frozen=True, slots=True)
class Mmr:
    """How many of the nearest are chosen from, and how much a point's likeness to those that are chosen
    already counts: 0 not at all, 1 alone (maximal marginal relevance, Carbonell and Goldstein 1998).
    """

    diversity: float
    candidates: int


@dataclass(frozen=True, slots=True)
class OrderBy:
    """The order of an indexed field's values, from `start` on; times are microseconds since 1970 in UTC."""

    key: str
    type: IndexType
    descending: bool = False
    start: int | float | None = None


@dataclass(frozen=True, slots=True)
class FacetQuery:
    """Which values of a field are the most frequent, and in how many points that match? May be estimated."""

    key: str
    limit: int
    filter: Filter | None = None
    exact: bool = False


@dataclass(frozen=True, slots=True)
class FacetHit:
    """A value of a payload field, and how many points have it."""

    value: str | int | bool
    count: int
