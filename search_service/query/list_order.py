"""Pages of points in the order of a payload field's values, equal values in the order of their UUIDs.

An engine orders by value alone and gives equals as it likes, so a list that ends among equals cannot be gone
on with. Those are therefore taken from a list of their own, which is by UUID; a page begins at a value and a
UUID, whatever was written meanwhile.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from clipsearch.serving.errors import InvalidArgument, Unavailable
from search_service.stores.codec import from_micros
from search_service.stores.collection import IndexType
from search_service.stores.filters import Condition, DatetimeRange, Range
from search_service.stores.protocol import Listing, Page, StoredPoint, VectorStore
from search_service.stores.questions import OrderBy

_MOST_TRIES = 3
_INTEGERS = range(-(2**63), 2**63)
_MICROS = range(-62_135_596_800_000_000, 253_402_300_800_000_000)  # of the years 1 to 9999


@dataclass(frozen=True, slots=True)
class Order:
    """An order as it is asked for. `start`: a number, or a time in UTC."""

    key: str
    descending: bool = False
    start: float | datetime | None = None


@dataclass(frozen=True, slots=True)
class _Entry:
    """A point at one of its values."""

    value: int | float
    uuid: str
    point: StoredPoint


def order_by(order: Order, type: IndexType) -> OrderBy:
    """The order for a field with an index of this type. Raises InvalidArgument for a start of another."""
    start: int | float | None
    if order.start is None:
        # An engine has times beyond those of the API, 9999-12-31T23:59:59-05:00 for one: they are left out.
        start = _MICROS[-1 if order.descending else 0] if type == "datetime" else None
    elif isinstance(order.start, datetime) != (type == "datetime"):
        field, wanted = ("time", "number") if isinstance(order.start, datetime) else ("number", "time")
        raise InvalidArgument(
            f"order_by.{field}",
            f"the payload index of {order.key!r} is of type {type}; its values begin with a {wanted}",
        )
    elif isinstance(order.start, datetime):
        start = (order.start - from_micros(0)) // timedelta(microseconds=1)
    elif type == "float":
        start = order.start
    else:
        start = (math.floor if order.descending else math.ceil)(order.start)
        start = min(max(start, _INTEGERS[0]), _INTEGERS[-1])
    return OrderBy(order.key, type, order.descending, start)


def check_cursor(cursor: str) -> None:
    """Raises InvalidArgument for a cursor that no page ended with."""
    with suppress(ValueError):
        if str(uuid.UUID(cursor)) == cursor:
            return
    raise InvalidArgument("page_token", f"{cursor[:80]!r} is not a token of ListPoints", "PAGE_TOKEN_INVALID")


async def ordered_page(
    store: VectorStore, listing: Listing, order: OrderBy, limit: int, token: str | None
) -> Page:
    """A page that begins where `token` says. Raises InvalidArgument for one that no page ended with."""
    walk = _Walk(store, listing, order)
    wanted = limit + 1  # the last of them begins the next page
    found: list[_Entry] = []
    start, more, tries = order.start, True, 0
    if token is not None:
        value, cursor = _read_token(token, order.type)
        found = await walk.equals(value, cursor, wanted)
        start, more = _next(value, order)
    while more and len(found) < wanted:
        entries, more = await walk.first(start, wanted - len(found))
        if not more:
            found += _sorted(entries, order)
            break
        if not entries:  # gone since they were listed: asked again
            tries += 1
            if tries == _MOST_TRIES:
                raise Unavailable("store", "points went again and again while they were listed; try again")
            continue
        tries = 0
        last = entries[-1].value
        found += _sorted((entry for entry in entries if entry.value != last), order)
        found += await walk.equals(last, None, wanted - len(found))
        start, more = _next(last, order)
    following = f"{found[limit].value}:{found[limit].uuid}" if len(found) > limit else None
    return Page(tuple(entry.point for entry in found[:limit]), following)


class _Walk:
    """The two kinds of lists that a page is made of."""

    def __init__(self, store: VectorStore, listing: Listing, order: OrderBy) -> None:
        self._store = store
        self._listing = listing
        self._order = order

    async def first(self, start: int | float | None, limit: int) -> tuple[list[_Entry], bool]:
        """So many points from a value on, equals in any order; and whether there may be more."""
        order = replace(self._order, start=start)
        found = await self._store.ordered(self._listing, order, limit=limit)
        pairs = zip(found.values, found.points, strict=True)
        entries = [
            _Entry(value, self._store.uuid(point.id), point)
            for value, point in pairs
            if order.type != "datetime" or int(value) in _MICROS
        ]
        return entries, found.more and len(entries) == len(found.values)

    async def equals(self, value: int | float, cursor: str | None, limit: int) -> list[_Entry]:
        """So many points that have a value, in the order of their UUIDs from `cursor` on."""
        filter = self._listing.filter
        equal = replace(self._listing, filter=replace(filter, must=(*filter.must, self._equal(value))))
        found: list[_Entry] = []
        while len(found) < limit:
            page = await self._store.scroll(equal, limit=limit - len(found), cursor=cursor)
            found += [_Entry(value, self._store.uuid(point.id), point) for point in page.points]
            cursor = page.next_cursor
            if cursor is None:
                break
        return found

    def _equal(self, value: int | float) -> Condition:
        if self._order.type == "datetime":
            time = from_micros(int(value))
            return DatetimeRange(self._order.key, gte=time, lte=time)
        return Range(self._order.key, gte=value, lte=value)


def _sorted(entries: Iterable[_Entry], order: OrderBy) -> list[_Entry]:
    """Each point once at each of its values."""
    sign = -1 if order.descending else 1
    unique = {(sign * entry.value, entry.uuid): entry for entry in entries}
    return [unique[key] for key in sorted(unique)]


def _next(value: int | float, order: OrderBy) -> tuple[int | float, bool]:
    """The value that follows, and whether there is one."""
    if order.type == "float":
        following = math.nextafter(value, -math.inf if order.descending else math.inf)
        return following, math.isfinite(following)
    following = int(value) + (-1 if order.descending else 1)
    return following, following in _values(order.type)


def _values(type: IndexType) -> range:
    return _MICROS if type == "datetime" else _INTEGERS


def _read_token(token: str, type: IndexType) -> tuple[int | float, str]:
    written, _, cursor = token.rpartition(":")
    check_cursor(cursor)
    try:
        value = float(written) if type == "float" else int(written)
        if math.isfinite(value) if type == "float" else value in _values(type):
            return value, cursor
    except ValueError:
        pass
    raise InvalidArgument(
        "page_token", f"{token[:80]!r} is not a token of a list in this order", "PAGE_TOKEN_INVALID"
    )
