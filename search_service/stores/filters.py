"""Filters on payloads, as plain values: what a point must, should and must not be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

_WIDEST = 270  # degrees of longitude
_NORTHERNMOST = 90 - 1e-9  # degrees of latitude, a tenth of a millimetre from the pole


@dataclass(frozen=True, slots=True)
class MatchValue:
    """The field equals `value`, or holds it in a list."""

    key: str
    value: str | int | bool


@dataclass(frozen=True, slots=True)
class MatchAny:
    """The field equals one of `values` (all strings or all integers)."""

    key: str
    values: tuple[str, ...] | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MatchExcept:
    """The field is there and is none of `values`; of a list, at least one element is none of them."""

    key: str
    values: tuple[str, ...] | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MatchText:
    """The field contains all words of `text`; meant for fields with a text index."""

    key: str
    text: str


@dataclass(frozen=True, slots=True)
class MatchPhrase:
    """The field contains the words of `phrase` in a row; a text index must have `phrase_matching`."""

    key: str
    phrase: str


def _keep_the_tighter(range: Range | DatetimeRange) -> None:
    """Of two bounds on one side: the engines' numeric indexes look at one of them only."""
    if range.gt is not None and range.gte is not None:
        object.__setattr__(range, "gt" if range.gte > range.gt else "gte", None)  # type: ignore[operator]
    if range.lt is not None and range.lte is not None:
        object.__setattr__(range, "lt" if range.lte < range.lt else "lte", None)  # type: ignore[operator]


@dataclass(frozen=True, slots=True)
class Range:
    """The field is a number within bounds. Of two bounds on one side the tighter stays."""

    key: str
    gt: float | None = None
    gte: float | None = None
    lt: float | None = None
    lte: float | None = None

    def __post_init__(self) -> None:
        _keep_the_tighter(self)


@dataclass(frozen=True, slots=True)
class DatetimeRange:
    """The field is an RFC 3339 string within bounds (aware datetimes); of two on a side the tighter stays."""

    key: str
    gt: datetime | None = None
    gte: datetime | None = None
    lt: datetime | None = None
    lte: datetime | None = None

    def __post_init__(self) -> None:
        _keep_the_tighter(self)


@dataclass(frozen=True, slots=True)
class GeoPoint:
    """A place: degrees."""

    lat: float
    lon: float


@dataclass(frozen=True, slots=True)
class GeoRadius:
    """The field is a place (an object with `lat` and `lon`), nearer to `center` than `radius` metres."""

    key: str
    center: GeoPoint
    radius: float


@dataclass(frozen=True, slots=True)
class GeoBoundingBox:
    """The field is a place within a box, not on its edge.

    A box that begins further east than it ends crosses the 180th meridian.
    """

    key: str
    top_left: GeoPoint
    bottom_right: GeoPoint

    def narrow(self) -> tuple[GeoBoundingBox, ...]:
        """Boxes that together are this one, none so wide that the engines' index leaves places out.

        It does from about 330 degrees on (Edge 0.9.0), and where the box ends at the north pole itself. The
        two overlap: places on an edge are outside.
        """
        west, east = self.top_left.lon, self.bottom_right.lon
        box = replace(self, top_left=GeoPoint(min(self.top_left.lat, _NORTHERNMOST), west))
        width = (east - west) % 360 or 360
        if width <= _WIDEST:
            return (box,)
        middle = west + width / 2
        first = replace(box, bottom_right=GeoPoint(box.bottom_right.lat, _longitude(middle + 1)))
        return first, replace(box, top_left=GeoPoint(box.top_left.lat, _longitude(middle - 1)))


def _longitude(degrees: float) -> float:
    return degrees - 360 if degrees > 180 else degrees


@dataclass(frozen=True, slots=True)
class ValuesCount:
    """The number of the field's values is within bounds: of a list its length, of nothing 0, else 1."""

    key: str
    gt: int | None = None
    gte: int | None = None
    lt: int | None = None
    lte: int | None = None

    @property
    def admits_none(self) -> bool:
        """Whether a field without values will do."""
        return self.gt is None and not self.gte and self.lt != 0


@dataclass(frozen=True, slots=True)
class Nested:
    """An object in the list at `key` matches `filter`, whose paths begin within the object."""

    key: str
    filter: Filter

    def __post_init__(self) -> None:
        # To a server `halls[]` is `halls`, Edge finds nothing in it.
        object.__setattr__(self, "key", self.key.removesuffix("[]"))

    @property
    def path(self) -> str:
        """What stands before the paths of `filter` in the payload."""
        return f"{self.key}[]."


@dataclass(frozen=True, slots=True)
class IsEmpty:
    """The field is absent, null or an empty list."""

    key: str


@dataclass(frozen=True, slots=True)
class IsNull:
    """The field is there and null."""

    key: str


@dataclass(frozen=True, slots=True)
class HasId:
    """The point has one of these ids (as written by the caller)."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HasVector:
    """The point has a vector of this name."""

    name: str


@dataclass(frozen=True, slots=True)
class MinShould:
    """At least `min_count` of the conditions hold."""

    conditions: tuple[Condition, ...]
    min_count: int


@dataclass(frozen=True, slots=True)
class Filter:
    """Every `must` holds, at least one `should` (if any) and what `min_should` says, no `must_not` holds.

    With `readings`, the conditions of `should` are ways to read one comparison, which need not all go
    with the type of the field.
    """

    must: tuple[Condition, ...] = ()
    should: tuple[Condition, ...] = ()
    must_not: tuple[Condition, ...] = ()
    readings: bool = False
    min_should: MinShould | None = None

    def __bool__(self) -> bool:
        return bool(self.must or self.should or self.must_not or self.min_should)


# Those that hold no point's id and no other condition: what they mean is the same under a tenant's token.
PlainCondition = (
    MatchValue
    | MatchAny
    | MatchExcept
    | MatchText
    | MatchPhrase
    | Range
    | DatetimeRange
    | GeoRadius
    | GeoBoundingBox
    | ValuesCount
    | IsEmpty
    | IsNull
    | HasVector
)
Condition = PlainCondition | HasId | Nested | Filter


def matches_everything(filter: Filter) -> bool:
    """True if the filter says nothing: it is empty, or holds nothing but filters that say nothing."""

    def vacuous(condition: Condition) -> bool:
        return isinstance(condition, Filter) and matches_everything(condition)

    some = filter.min_should
    return (
        all(map(vacuous, filter.must))
        and (not filter.should or any(map(vacuous, filter.should)))
        and (some is None or sum(map(vacuous, some.conditions)) >= some.min_count)
        and not filter.must_not
    )


def asks_for_vectors(filter: Filter) -> bool:
    """Whether the filter has a HasVector somewhere."""
    some = filter.min_should.conditions if filter.min_should else ()
    return any(
        isinstance(condition, HasVector) or (isinstance(condition, Filter) and asks_for_vectors(condition))
        for condition in (*filter.must, *filter.should, *filter.must_not, *some)
    )
