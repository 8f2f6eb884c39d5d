"""Search images and texts by meaning: the Python client of the two services.

from clipsearch import Client

with Client("127.0.0.1:50052") as client:
    for hit in client.search("images", "a cat", limit=5):
        print(f"{hit.score:.3f}", hit.payload["path"])
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipsearch.channel.credentials import ClientTls, CredentialsError
    from clipsearch.client.aio import AsyncClient, AsyncEncoderClient
    from clipsearch.client.errors import ClipSearchError
    from clipsearch.client.inputs import Nearer, Newer, Point, Popular, Search, Term, TextIndex
    from clipsearch.client.sync import Client, EncoderClient
    from clipsearch.client.types import (
        Classification,
        Collection,
        FacetHit,
        Group,
        GroupedResult,
        Hit,
        LabelScore,
        Model,
        Page,
        SearchResult,
        StoredPoint,
        UpsertResult,
    )
    from clipsearch.filters.expressions import FilterError

__all__ = [
    "AsyncClient",
    "AsyncEncoderClient",
    "Classification",
    "Client",
    "ClientTls",
    "ClipSearchError",
    "Collection",
    "CredentialsError",
    "EncoderClient",
    "FacetHit",
    "FilterError",
    "Group",
    "GroupedResult",
    "Hit",
    "LabelScore",
    "Model",
    "Nearer",
    "Newer",
    "Page",
    "Point",
    "Popular",
    "Search",
    "SearchResult",
    "StoredPoint",
    "Term",
    "TextIndex",
    "UpsertResult",
]

_HOMES = {
    "AsyncClient": "client.aio",
    "AsyncEncoderClient": "client.aio",
    "Client": "client.sync",
    "EncoderClient": "client.sync",
    "ClientTls": "channel.credentials",
    "CredentialsError": "channel.credentials",
    "ClipSearchError": "client.errors",
    "FilterError": "filters.expressions",
    "Nearer": "client.inputs",
    "Newer": "client.inputs",
    "Point": "client.inputs",
    "Popular": "client.inputs",
    "Search": "client.inputs",
    "Term": "client.inputs",
    "TextIndex": "client.inputs",
}


def __getattr__(name: str) -> Any:
    """Imports a public name at its first use: the services and `clipsearch --help` need no client."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'client.types')}"), name)
