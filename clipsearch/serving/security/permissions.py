"""Which scope each RPC needs and which collections its request names; what is not listed is refused.

To a tenant's token an RPC is closed unless it says `tenants=True`: that all it answers and changes is of the
tenant's own points. So it is if it asks nothing but the store that the services are given (stores/tenant.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from clipsearch.serving.security.tokens import Scope

_ENCODER = "/clipsearch.encoder.v1.EncoderService/"
_OPENAI = "/clipsearch.encoder.v1.OpenAIService/"
_SEARCH = "/clipsearch.search.v1.SearchService/"
_COLLECTION = "/clipsearch.search.v1.CollectionService/"

Names = Callable[[Any], Iterable[str]]


@dataclass(frozen=True, slots=True)
class Permission:
    """`collections` gives the names in a request; None = the call reaches every collection there is."""

    scope: Scope
    collections: Names | None
    tenants: bool = False


def _none(_request: Any) -> Iterable[str]:
    return ()


def _named(field: str, *others: str) -> Names:
    """The names in these fields, but for others that are empty."""

    def names(request: Any) -> Iterable[str]:
        return (getattr(request, field), *filter(None, (getattr(request, other) for other in others)))

    return names


_collection, _name = _named("collection"), _named("name")


def _searched(request: Any) -> Iterable[str]:
    return (search.collection for search in request.searches)


def _grouped(request: Any) -> Iterable[str]:
    return (request.search.collection,)


PERMISSIONS: dict[str, Permission] = {
    _ENCODER + "GetModel": Permission(Scope.ENCODE, _none, tenants=True),
    _ENCODER + "EncodeText": Permission(Scope.ENCODE, _none, tenants=True),
    _ENCODER + "EncodeImage": Permission(Scope.ENCODE, _none, tenants=True),
    _ENCODER + "Classify": Permission(Scope.ENCODE, _none, tenants=True),
    _OPENAI + "CreateEmbeddings": Permission(Scope.ENCODE, _none, tenants=True),
    _OPENAI + "ListModels": Permission(Scope.ENCODE, _none, tenants=True),
    _SEARCH + "Search": Permission(Scope.SEARCH, _collection, tenants=True),
    _SEARCH + "SearchBatch": Permission(Scope.SEARCH, _searched, tenants=True),
    _SEARCH + "SearchGroups": Permission(Scope.SEARCH, _grouped, tenants=True),
    _SEARCH + "GetPoints": Permission(Scope.SEARCH, _collection, tenants=True),
    _SEARCH + "CountPoints": Permission(Scope.SEARCH, _collection, tenants=True),
    _SEARCH + "Facet": Permission(Scope.SEARCH, _collection, tenants=True),
    _SEARCH + "ListPoints": Permission(Scope.SEARCH, _collection, tenants=True),
    _SEARCH + "Upsert": Permission(Scope.WRITE, _collection, tenants=True),
    _SEARCH + "DeletePoints": Permission(Scope.WRITE, _collection, tenants=True),
    _SEARCH + "UpdatePayload": Permission(Scope.WRITE, _collection, tenants=True),
    _SEARCH + "UpdateVectors": Permission(Scope.WRITE, _collection),
    _SEARCH + "DeleteVectors": Permission(Scope.WRITE, _collection),
    _COLLECTION + "GetCollection": Permission(Scope.SEARCH, _name, tenants=True),
    _COLLECTION + "ListCollections": Permission(Scope.SEARCH, None, tenants=True),
    _COLLECTION + "CreateCollection": Permission(Scope.ADMIN, _name),
    _COLLECTION + "UpdateCollection": Permission(Scope.ADMIN, _name),
    _COLLECTION + "DeleteCollection": Permission(Scope.ADMIN, _name),
    _COLLECTION + "UpdateAlias": Permission(Scope.ADMIN, _named("alias", "collection")),
    _COLLECTION + "SetSuccessor": Permission(Scope.ADMIN, _named("collection", "successor")),
    _COLLECTION + "CreatePayloadIndex": Permission(Scope.ADMIN, _collection),
    _COLLECTION + "DeletePayloadIndex": Permission(Scope.ADMIN, _collection),
}
