"""How much a search of compressed vectors fetches before it compares again with the originals.

Rescoring alone only reorders what was fetched. Of 20,000 clustered vectors of 512 numbers a search for
ten that fetched ten had a recall of 0.40 with binary vectors and 0.96 with int8 ones, which is why the
default fetches more: `make bench-search` measures what it finds and takes.
"""

from __future__ import annotations

from dataclasses import replace

from search_service.queries import Query
from search_service.stores.protocol import BinaryEncoding, CollectionSpec

# Times `limit`, at 512 dimensions, by what the compressed vector keeps.
_SCALAR = 3.0
_TURBO = {0.0: 3.0, 8.0: 3.0, 4.0: 3.0, 2.0: 4.0, 1.5: 6.0, 1.0: 8.0}
_PRODUCT = {4: 3.0, 8: 3.0, 16: 4.0, 32: 8.0, 64: 12.0}
_BINARY: dict[BinaryEncoding, float] = {"one_bit": 8.0, "one_and_half_bits": 6.0, "two_bits": 4.0}
_MOST = 16.0


def default_oversampling(spec: CollectionSpec) -> float:
    """Times `limit` that a search of the collection fetches where it does not say; 1 = no more."""
    return 1.0


def with_default_oversampling(query: Query, spec: CollectionSpec) -> Query:
    """The query with the collection's default where it says nothing; a caller's own number stands.

    A search that is exact, or that does not rescore, is left alone: it has no use for more.
    """
    if query.oversampling or query.exact or not query.rescore:
        return query
    factor = default_oversampling(spec)
    return replace(query, oversampling=factor) if factor > 1 else query
