"""A store as a tenant's token reaches it: the tenant's own points, under ids of its own, and nothing else.

It stands below all that searches and writes, so no RPC can leave the condition out, and what is not
restricted here is refused. A point is the tenant's if its payload says so. Points are read with that field
and looked at once more: a point may change hands between the engine's filter and its answer.

To everybody else the tenant's point `1.jpg` is `acme/1.jpg`: no tenant learns from an id whether another has
it too. What somebody else wrote for the tenant under an id of no tenant, `2.jpg`, is `../2.jpg` to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn, TypeVar, cast

from clipsearch.filters.paths import keys
from clipsearch.serving.current_call import current_call
from clipsearch.serving.errors import InvalidArgument, NotFound, PermissionDenied, ServiceError
from clipsearch.serving.security.tokens import Tenant
from search_service.deadline import time_left
from search_service.stores.collection import CollectionInfo, CollectionSpec
from search_service.stores.filters import (
    Condition,
    Filter,
    HasId,
    HasVector,
    MatchExcept,
    MatchValue,
    Nested,
    PlainCondition,
)
from search_service.stores.protocol import (
    NO_PAYLOAD,
    Listing,
    OrderedPoints,
    Page,
    PayloadChange,
    PayloadSelection,
    Question,
    ScoredPoint,
    StoredPoint,
    VectorQuery,
    VectorStore,
)
from search_service.stores.questions import FacetHit, FacetQuery, OrderBy

_OTHERS = "../"
Asked = TypeVar("Asked", Listing, VectorQuery)


def for_callers(store: VectorStore) -> VectorStore:
    """The store, restricted in each call to what its caller's token allows. Of no use outside of calls."""
    return cast(VectorStore, _ForCallers(store))


class _ForCallers:
    def __init__(self, store: VectorStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        call = current_call()
        if call is None:
            raise RuntimeError("no call is being served: nobody knows what it may reach")
        store = self._store if call.tenant is None else TenantStore(self._store, call.tenant)
        return getattr(store, name)


def check_point(tenant: Tenant, id: str, payload: Mapping[str, Any], field: str) -> None:
    """Raises InvalidArgument for a point, at `field` of the request, that the tenant may not write."""
    if id.startswith(_OTHERS):
        raise InvalidArgument(
            f"{field}.id",
            f"{id!r} begins with {_OTHERS!r}, as ids of points that others wrote do",
            "ID_INVALID",
        )
    check_field(tenant, payload, f"{field}.payload")


def check_field(tenant: Tenant, payload: Mapping[str, Any], field: str) -> None:
    """Raises InvalidArgument for a payload that says it is somebody else's."""
    if payload.get(tenant.field, tenant.value) != tenant.value:
        raise InvalidArgument(
            f"{field}.{tenant.field}",
            f"must be {tenant.value!r}, or left out: it is the caller's own",
            "TENANT_FIXED",
        )


def check_change(tenant: Tenant, change: PayloadChange) -> None:
    """Raises InvalidArgument for a change that would give the tenant's points away."""
    check_field(tenant, change.set, "set")
    for i, path in enumerate(change.delete):
        if keys(path)[0] == tenant.field:
            raise InvalidArgument(
                f"delete[{i}]", f"{path!r} says whose a point is, and stays", "TENANT_FIXED"
            )


def is_shared(tenant: Tenant, payload: Mapping[str, Any]) -> bool:
    """Whether a point of the tenant's is another's as well."""
    value = payload.get(tenant.field)
    return isinstance(value, list) and any(isinstance(one, str) and one != tenant.value for one in value)


def prefix(tenant: Tenant) -> str:
    """What the ids of a tenant's points begin with in the store."""
    return f"{tenant.value}/"


class TenantStore:
    """VectorStore over `store` for one tenant.

    A point whose field is a list with the tenant's value among others is shared: it is read, and never
    changed, deleted or replaced.
    """

    def __init__(self, store: VectorStore, tenant: Tenant) -> None:
        self.shared = store.shared
        self._store = store
        self._tenant = tenant
        self._prefix = prefix(tenant)
        self._own = MatchValue(tenant.field, tenant.value)
        self._only_own = Filter(must=(self._own,), must_not=(MatchExcept(tenant.field, (tenant.value,)),))

    def uuid(self, point_id: str) -> str:
        """That of the id which the store knows."""
        return self._store.uuid(self._inner_id(point_id))

    async def resolve(self, name: str) -> CollectionSpec:
        """The settings, which are the same for everybody."""
        return await self._store.resolve(name)

    async def get_collection(self, collection: str) -> CollectionInfo:
        """With the tenant's own counts; what its points take, and how many are indexed, nobody knows."""
        return await self._counted(await self._store.get_collection(collection))

    async def list_collections(self) -> list[CollectionInfo]:
        """The same of all collections."""
        found = []
        for info in await self._store.list_collections():
            try:
                found.append(await self._counted(info))
            except NotFound:  # deleted meanwhile
                continue
            except ServiceError as error:
                time_left()  # a caller whose time is over is told so, and of no damage
                found.append(CollectionInfo(info.spec, aliases=info.aliases, damage=error.message))
        return found

    async def _counted(self, info: CollectionInfo) -> CollectionInfo:
        if info.damage:
            return info
        kinds = (None, Filter(must=(HasVector("image"),)), Filter(must=(HasVector("text"),)))
        points, images, texts = await asyncio.gather(*(self.count(info.spec.name, kind) for kind in kinds))
        return CollectionInfo(info.spec, points, images, texts, aliases=info.aliases)

    async def upsert(
        self,
        collection: str,
        points: Sequence[StoredPoint],
        *,
        wait: bool = True,
        insert_only: bool = False,
        update_filter: Filter | None = None,
    ) -> frozenset[str]:
        """Writes points as the tenant's; returns those ids too that are there and not the tenant's alone."""
        for i, point in enumerate(points):
            check_point(self._tenant, point.id, point.payload, f"points[{i}]")
        own = {self._tenant.field: self._tenant.value}
        replaced = self._only_own
        if update_filter is not None:
            replaced = Filter(must=(replaced, self._inner(update_filter)))
        left = await self._store.upsert(
            collection,
            [
                replace(point, id=self._prefix + point.id, payload={**point.payload, **own})
                for point in points
            ],
            wait=wait,
            insert_only=insert_only,
            update_filter=replaced,
        )
        return frozenset(map(self._shown_id, left))

    async def get(
        self,
        collection: str,
        ids: Sequence[str],
        *,
        payload: PayloadSelection = PayloadSelection(),
        with_vectors: bool = False,
    ) -> list[StoredPoint]:
        """Those of `ids` that exist and are the tenant's."""
        found = await self._store.get(
            collection, self._inner_ids(ids), payload=self._with_field(payload), with_vectors=with_vectors
        )
        return self._shown_of(found, payload)

    async def present(self, collection: str, ids: Sequence[str]) -> frozenset[str]:
        """The same of those that are there to stay."""
        there = await self._store.present(collection, self._inner_ids(ids))
        own = await self.get(collection, ids, payload=NO_PAYLOAD)
        return frozenset(map(self._shown_id, there)) & {point.id for point in own}

    async def delete(self, collection: str, selector: Sequence[str] | Filter) -> int:
        """Deletes those that are the tenant's alone."""
        if not isinstance(selector, Filter):
            selector = Filter(must=(HasId(tuple(selector)),))
        own = Filter(must=(self._only_own, self._inner(selector)))
        return await self._store.delete(collection, own)

    async def update_payload(self, collection: str, ids: Sequence[str], change: PayloadChange) -> int:
        """Changes those that are the tenant's alone, and leaves them so."""
        check_change(self._tenant, change)
        fields = {**change.set, self._tenant.field: self._tenant.value} if change.whole else change.set
        own = self._only_own
        if change.update_filter is not None:
            own = Filter(must=(own, self._inner(change.update_filter)))
        change = replace(change, set=fields, update_filter=own)
        return await self._store.update_payload(collection, self._inner_ids(ids), change)

    async def count(self, collection: str, filter: Filter | None = None) -> int:
        """How many of the tenant's points match."""
        return await self._store.count(collection, self._restricted(filter))

    async def scroll(self, listing: Listing, *, limit: int, cursor: str | None = None) -> Page:
        """A page of the tenant's points; its cursor is the UUID of one of them."""
        own = self._own_of(listing)
        page = await self._store.scroll(own, limit=limit, cursor=cursor)
        return Page(tuple(self._shown_of(page.points, listing.payload)), page.next_cursor)

    async def facet(self, collection: str, asked: FacetQuery) -> list[FacetHit]:
        """Values of the tenant's points, exactly: estimates are made of everybody's."""
        own = replace(asked, filter=self._restricted(asked.filter), exact=True)
        return await self._store.facet(collection, own)

    async def ordered(self, listing: Listing, order: OrderBy, *, limit: int) -> OrderedPoints:
        """The tenant's points in the order of a field's values."""
        found = await self._store.ordered(self._own_of(listing), order, limit=limit)
        pairs = zip(found.values, found.points, strict=True)
        values = tuple(value for value, point in pairs if self._owns(point))
        return OrderedPoints(values, tuple(self._shown_of(found.points, listing.payload)), found.more)

    async def random(self, listing: Listing, *, limit: int) -> list[StoredPoint]:
        """Some of the tenant's points."""
        found = await self._store.random(self._own_of(listing), limit=limit)
        return self._shown_of(found, listing.payload)

    async def query(self, collection: str, queries: Sequence[Question]) -> list[list[ScoredPoint]]:
        """Answers questions from the tenant's points.

        None by words: how rare a word is, which scores tell, is that of the whole collection.
        """
        asked = [one for one in queries if isinstance(one, VectorQuery)]
        if len(asked) < len(queries):
            await self._refuse()
        answers = await self._store.query(collection, list(map(self._own_of, asked)))
        return [
            [replace(hit, point=self._shown(hit.point, one.payload)) for hit in hits if self._owns(hit.point)]
            for one, hits in zip(asked, answers, strict=True)
        ]

    async def _refuse(self, *_arguments: Any, **_more: Any) -> NoReturn:
        raise PermissionDenied("this reaches beyond the points of one tenant", "TENANT_FORBIDDEN")

    ping = close = create_collection = update_collection = delete_collection = _refuse
    set_alias = set_successor = create_payload_index = delete_payload_index = _refuse
    update_vectors = delete_vectors = sample = calibration = set_calibration = _refuse

    def _own_of(self, asked: Asked) -> Asked:
        """What is asked for, of the tenant's points, with the field that says so."""
        return replace(asked, filter=self._restricted(asked.filter), payload=self._with_field(asked.payload))

    def _restricted(self, filter: Filter | None) -> Filter:
        return Filter(must=(self._own, self._inner(filter)) if filter else (self._own,))

    def _inner(self, filter: Filter) -> Filter:
        """The same filter with the ids that the store knows."""

        def inner(conditions: tuple[Condition, ...]) -> tuple[Condition, ...]:
            return tuple(map(self._inner_condition, conditions))

        must, should, must_not = map(inner, (filter.must, filter.should, filter.must_not))
        some = filter.min_should and replace(
            filter.min_should, conditions=inner(filter.min_should.conditions)
        )
        return replace(filter, must=must, should=should, must_not=must_not, min_should=some)

    def _inner_condition(self, condition: Condition) -> Condition:
        match condition:
            case Filter():
                return self._inner(condition)
            case Nested():
                return replace(condition, filter=self._inner(condition.filter))
            case HasId(ids):
                return HasId(tuple(self._inner_ids(ids)))
            case _:
                plain: PlainCondition = condition  # mypy refuses a new one until it is said to be so
                return plain

    def _inner_ids(self, ids: Sequence[str]) -> list[str]:
        """The store's ids of those that are written as they are shown; no point has another."""
        pairs = [(self._inner_id(id), id) for id in ids]
        return [inner for inner, id in pairs if self._shown_id(inner) == id]

    def _inner_id(self, id: str) -> str:
        return id.removeprefix(_OTHERS) if id.startswith(_OTHERS) else self._prefix + id

    def _shown_id(self, inner: str) -> str:
        own = inner.removeprefix(self._prefix)
        return _OTHERS + inner if own in (inner, "") or own.startswith(_OTHERS) else own

    def _owns(self, point: StoredPoint) -> bool:
        value = point.payload.get(self._tenant.field)
        return value == self._tenant.value or (isinstance(value, list) and self._tenant.value in value)

    def _with_field(self, selection: PayloadSelection) -> PayloadSelection:
        if selection.include is None or self._tenant.field in selection.include:
            return selection
        return PayloadSelection((*selection.include, self._tenant.field))

    def _shown_of(self, points: Sequence[StoredPoint], selection: PayloadSelection) -> list[StoredPoint]:
        return [self._shown(point, selection) for point in points if self._owns(point)]

    def _shown(self, point: StoredPoint, selection: PayloadSelection) -> StoredPoint:
        """The point under its id for the tenant, with what was asked for of its payload."""
        payload, field = point.payload, self._tenant.field
        if selection.include is not None and all(keys(path)[0] != field for path in selection.include):
            payload = {key: value for key, value in payload.items() if key != field}
        return replace(point, id=self._shown_id(point.id), payload=payload)
